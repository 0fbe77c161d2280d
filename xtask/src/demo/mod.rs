//! `cargo xtask demo`: the product at work on a real link, told step by step, each claim checked.

mod lab;
mod peers;
mod stage;
mod story;

use anyhow::Result;

use crate::project::Project;
use crate::{build, machine, setup};

/// Builds everything and plays the story in namespaces that are gone afterwards, however it ends.
pub fn run(project: &Project) -> Result<()> {
    machine::can_run_bpf("cargo xtask demo")?;
    let sg_ctl = build::everything(project)?;
    setup::for_running()?;
    // From here on signals only raise a flag, so that every guard gets its turn.
    let stage = stage::Stage::new()?;
    let lab = lab::Lab::build(sg_ctl)?;
    let outcome = story::play(&stage, &lab);
    let clean = lab.clean_up();
    if clean.is_ok() {
        stage.end("The namespaces, the pinned programs and the store of this demo are gone again.");
    }
    outcome.and(clean)
}
