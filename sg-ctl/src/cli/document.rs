//! `sg-ctl export`, `sg-ctl apply`, `sg-ctl schema`

use super::{Global, run::context, tell};
use crate::{
    document::{self, How, Source, diff, plan},
    error::{Refusal, Result},
    render,
    time::now,
    transact::{change, foresee, view},
};
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// `export`
#[derive(Debug, clap::Args)]
pub struct Export {
    /// This VPC only, with the prefix lists that its rules name
    #[arg(long, value_name = "V")]
    vpc: Option<String>,
}

/// `apply`
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// The document, in YAML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what the document lacks
    #[arg(long)]
    prune: bool,
}

impl Apply {
    /// Reads the file.
    fn source(&self) -> Result<Source> {
        let is_stdin = self.file == Path::new("-");
        let name = if is_stdin { "stdin".to_owned() } else { self.file.display().to_string() };
        let mut bytes = Vec::new();
        let read = match is_stdin {
            true => io::stdin().lock().read_to_end(&mut bytes),
            false => fs::File::open(&self.file).and_then(|mut file| file.read_to_end(&mut bytes)),
        };
        read.map_err(|error| Refusal::invalid(format!("{name}: the document cannot be read: {error}")))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| Refusal::invalid(format!("{name}: the document is not UTF-8: {error}")))?;
        Ok(Source { name, text })
    }
}

/// Runs `export`.
pub fn export(global: &Global, typed: &Export, out: &mut Vec<u8>) -> Result<()> {
    let state = view(&context(global)?)?;
    let vpc = typed.vpc.as_deref().map(|given| document::find_vpc(&state, given)).transpose()?;
    Ok(render::document(out, global.output, &document::export(&state, vpc))?)
}

/// Runs `apply`. The document is read before anything is opened, and held against the state that is there when it is
/// changed.
pub fn apply(global: &Global, typed: &Apply, out: &mut Vec<u8>) -> Result<()> {
    let source = typed.source()?;
    let document = source.read()?;
    let ctx = context(global)?;
    let how = How { prune: typed.prune, netns: ctx.netns.as_deref(), now: now() };
    let (changes, warnings) = match typed.dry_run {
        true => {
            let before = foresee(&ctx)?;
            let planned = plan(&before, &document, &how).map_err(|error| source.locate(error))?;
            (diff(&before, &planned.state), planned.warnings)
        }
        false => {
            let applied = change(&ctx, |state| {
                let planned = plan(state, &document, &how)?;
                let changes = diff(state, &planned.state);
                *state = planned.state;
                Ok((changes, planned.warnings))
            });
            applied.map_err(|error| source.locate(error))?.value
        }
    };
    warnings.iter().for_each(|warning| tell("warning", warning));
    Ok(render::applied(out, global.output, &changes, !typed.dry_run)?)
}
