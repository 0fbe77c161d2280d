//! `docs/tests.md` names tests; each must exist.

use std::{collections::BTreeMap, fs, path::Path};

/// The words in backticks of a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_table_names_exists_and_every_number_has_a_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = fs::read_to_string(root.join("docs/tests.md")).expect("docs/tests.md");
    let mut sources = BTreeMap::new();
    let mut numbers = Vec::new();
    let mut checked = 0;
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, _, tests] = cells[..] else { panic!("three cells: {line}") };
        if number.is_empty() {
            continue;
        }
        assert!(!tests.is_empty(), "{number} has neither test nor reason");
        numbers.push(number.to_owned());
        let mut source = None;
        for word in quoted(tests) {
            if Path::new(word).extension().is_some_and(|extension| extension == "rs") {
                source = fs::read_to_string(root.join(word))
                    .ok()
                    .map(|text| &*sources.entry(word).or_insert(text));
                continue;
            }
            // Flags and the like are quoted too; names of tests are words of at least three parts behind their file.
            if word.split('_').count() < 3 || word.starts_with(|c: char| !c.is_ascii_lowercase()) {
                continue;
            }
            let source: &String = source.unwrap_or_else(|| panic!("{number}: {word} stands behind no file"));
            assert!(source.contains(&format!("fn {word}(")), "{number}: there is no test {word}");
            checked += 1;
        }
    }
    let all = [("P-", 23), ("T-", 45), ("N-", 12), ("R-", 28), ("M-", 78), ("A-", 76), ("", 47)];
    let expected: Vec<_> =
        all.iter().flat_map(|(prefix, last)| (1..=*last).map(move |n| format!("{prefix}{n}"))).collect();
    assert_eq!(numbers, expected);
    assert!(checked > 200, "{checked} names of tests are few");
}
