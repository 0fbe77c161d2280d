//! What a host's monitoring is told: everything that `status`, `counters` and the flow tables know, as metrics by
//! Prometheus' conventions.
//!
//! Counters of packets lie in the kernel's maps. So they go on through restarts of whoever tells them, and go with their
//! interface. Labels are interfaces, reasons and tables, of all of which there are few: no address, port or rule is one.

mod families;
mod seen;
mod text;

pub use families::{Family, Kind, Number, Sample, families};
pub use seen::{AgentSeen, MapCounts, Seen, SeenInterface, Walk};
pub use text::{OPEN_METRICS, PLAIN, open_metrics, plain};
