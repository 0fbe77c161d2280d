//! `sg-ctl top`

use super::{Global, monitor, run::context};
use crate::{
    error::{Refusal, Result},
    render::Output,
    top,
};

/// `top`
#[derive(Debug, clap::Args)]
pub struct Top {
    /// This interface only
    #[arg(value_name = "IFACE")]
    interface: Option<String>,
}

/// Shows the screen until the user has seen enough.
pub fn run(global: &Global, typed: &Top) -> Result<()> {
    top::check()?;
    if global.output == Output::Json {
        let message = "top is a screen for people and has no JSON form; use `sg-ctl -o json counters --watch` for rates and \
                       `sg-ctl -o json monitor` for drops";
        return Err(Refusal::new("UnsupportedOperation", message).into());
    }
    monitor::tell_end(&top::run(&context(global)?, typed.interface.as_deref())?);
    Ok(())
}
