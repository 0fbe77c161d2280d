//! `sg-ctl explain`

use super::{Global, run::context, tell};
use crate::{
    error::Result,
    explain::{self, Question},
    model::Direction,
    render,
};

/// `explain`
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// Device name or id of an attached interface
    #[arg(value_name = "IFACE")]
    interface: String,
    /// Which way the packet goes
    #[arg(value_enum)]
    direction: Direction,
    /// tcp, udp, icmp, icmpv6, or a number 0-255
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    protocol: String,
    /// Address of the far end
    #[arg(long, value_name = "ADDR")]
    remote: String,
    /// The port that rules look at: inward the local, outward the remote
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    port: Option<String>,
    /// Port of the sender [default: 49152]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    source_port: Option<String>,
    /// ICMP type
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    icmp_type: Option<String>,
    /// ICMP code [default: 0]
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    icmp_code: Option<String>,
}

impl From<&Explain> for Question {
    fn from(typed: &Explain) -> Self {
        Self {
            interface: typed.interface.clone(),
            direction: typed.direction,
            protocol: typed.protocol.clone(),
            remote: typed.remote.clone(),
            port: typed.port.clone(),
            source_port: typed.source_port.clone(),
            icmp_type: typed.icmp_type.clone(),
            icmp_code: typed.icmp_code.clone(),
        }
    }
}

/// Runs it and writes its answer.
pub fn run(global: &Global, typed: &Explain, out: &mut Vec<u8>) -> Result<()> {
    let explanation = explain::explain(&context(global)?, &typed.into())?;
    if let Some(warning) = &explanation.warning {
        tell("warning", warning);
    }
    Ok(render::explanation(out, global.output, &explanation)?)
}
