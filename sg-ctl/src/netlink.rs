//! One question to the kernel by netlink, and its answers in turn.

use crate::error::Result;
use anyhow::{Context as _, ensure};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use std::io;

/// Asks for everything of a kind and calls `visit` with each answer. Returns the socket, for further questions in the
/// same namespace.
///
/// # Errors
/// Where the kernel refuses the question, or its answer cannot be understood.
pub fn dump<M: NetlinkSerializable + NetlinkDeserializable>(
    protocol: isize,
    question: M,
    mut visit: impl FnMut(M),
) -> Result<Socket> {
    let mut socket = Socket::new(protocol).context("cannot open a netlink socket")?;
    socket.bind_auto().context("cannot bind a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).context("cannot connect a netlink socket")?;
    socket.send(&request(question), 0).context("cannot send the question")?;
    loop {
        let (datagram, _) = socket.recv_from_full().context("cannot receive the answer")?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<M>::deserialize(rest).context("the answer cannot be understood")?;
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => visit(answer),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code).into());
                }
                NetlinkPayload::Done(_) => return Ok(socket),
                NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                _ => {}
            }
            let length = message.header.length as usize;
            ensure!(length > 0, "the answer holds an empty message");
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The request for a dump, as bytes.
fn request<M: NetlinkSerializable>(question: M) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
