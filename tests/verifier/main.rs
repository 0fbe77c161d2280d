//! `cargo xtask verifier`: what every program costs the verifier and the kernel, beside what was acknowledged.

use sg_tests::verifier;
use std::{io, path::Path, process::ExitCode};

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (directory, acknowledge) = match &arguments[..] {
        [directory] => (directory, false),
        [directory, flag] if flag == "--acknowledge" => (directory, true),
        _ => {
            eprintln!("usage: sg-verifier RECORDS [--acknowledge]");
            return Ok(ExitCode::from(2));
        }
    };
    let path = verifier::path(Path::new(directory));
    let before = verifier::acknowledged(&path)?;
    let after = verifier::measure();
    print!("{}", verifier::table(before.as_ref(), &after));
    if acknowledge {
        verifier::acknowledge(&path, &after)?;
        println!("\nacknowledged in {}", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(before) = before else {
        println!("\nThere is no record of this kernel: nothing to compare with. --acknowledge makes one.");
        return Ok(ExitCode::SUCCESS);
    };
    let grown = verifier::grown(&before, &after);
    if grown.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("\nGrown by more than a tenth; --acknowledge where that is meant:\n{}", grown.join("\n"));
    Ok(ExitCode::FAILURE)
}
