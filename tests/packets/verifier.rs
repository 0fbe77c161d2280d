//! No program grows unnoticed.

use sg_tests::verifier;
use std::path::Path;

#[test]
fn no_program_grew_by_more_than_a_tenth_since_somebody_acknowledged_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verifier");
    let path = verifier::path(&directory);
    let after = verifier::measure();
    let Some(before) = verifier::acknowledged(&path).expect("the record") else {
        println!("no record of this kernel: nothing to compare with\n{}", verifier::table(None, &after));
        return;
    };
    let grown = verifier::grown(&before, &after);
    let next = "`cargo xtask verifier --acknowledge` where that is meant";
    assert!(grown.is_empty(), "grown by more than a tenth; {next}:\n{}", grown.join("\n"));
}
