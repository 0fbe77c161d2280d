//! `sg-ctl counters`, `sg-ctl conntrack …`

use crate::{error::Result, observe::FlowFilter, ops};

/// `counters`
#[derive(Debug, clap::Args)]
pub struct Counters {
    /// This interface only
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Print them every second, with what came in it, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Set what is printed to zero; with --watch once, at the start
    #[arg(long)]
    pub reset: bool,
}

/// `agent`
#[derive(Debug, clap::Args)]
pub struct Agent {
    /// Serve metrics by HTTP there, for Prometheus
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<String>,
}

/// Commands on tracked flows.
#[derive(Debug, clap::Subcommand)]
pub enum Conntrack {
    /// List live and half-open flows
    List(Filter),
    /// Say how full the flow tables are
    Stats,
    /// Forget flows: those connections go on only where rules admit them anew
    Flush(Filter),
}

/// `conntrack list` and `conntrack flush`
#[derive(Debug, clap::Args)]
pub struct Filter {
    /// Flows of this interface only
    #[arg(value_name = "IFACE")]
    interface: Option<String>,
    /// Flows of this protocol only: tcp, udp, icmp, icmpv6, or a number
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    protocol: Option<String>,
    /// Flows whose remote address is within
    #[arg(long, value_name = "CIDR")]
    remote: Option<String>,
}

impl Filter {
    /// The filter that was typed.
    pub fn filter(&self) -> Result<FlowFilter> {
        let protocol = self.protocol.as_deref().map(ops::traffic::protocol_number).transpose()?;
        Ok(FlowFilter {
            interface: self.interface.clone(),
            protocol: protocol.flatten(),
            remote: self.remote.as_deref().map(ops::peer::network_or_address).transpose()?,
        })
    }
}
