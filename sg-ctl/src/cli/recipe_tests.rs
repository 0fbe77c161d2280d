//! `docs/recipes.md`: the commands that it shows for a recipe make what the recipe makes.

use super::{Cli, Command, group, rule};
use crate::{
    model::{GroupId, State},
    ops::{self, recipe, recipes::RECIPES},
};
use clap::Parser as _;
use std::{collections::BTreeSet, fs, path::Path};

/// A section of the page: its heading and its blocks of commands.
struct Section {
    heading: String,
    blocks: Vec<Vec<String>>,
}

/// What stands before the first heading is a section too.
fn sections(page: &str) -> Vec<Section> {
    let mut sections = vec![Section { heading: String::new(), blocks: Vec::new() }];
    let mut inside = false;
    for line in page.lines() {
        let section = sections.last_mut().unwrap();
        if let Some(heading) = line.strip_prefix("## ") {
            sections.push(Section { heading: heading.to_owned(), blocks: Vec::new() });
        } else if line == "```" {
            inside = !inside;
            if inside {
                section.blocks.push(Vec::new());
            }
        } else if inside {
            section.blocks.last_mut().unwrap().push(line.to_owned());
        }
    }
    assert!(!inside, "a block is not closed");
    sections
}

/// Divides at blanks, as a shell does; only double quotes are used on the page.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![];
    for (n, part) in line.split('"').enumerate() {
        match n % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// Runs a line of the page on the state, in a session from 203.0.113.1.
fn run(state: &mut State, line: &str) {
    let words = words(line);
    assert_eq!(words[0], "sg-ctl", "{line}");
    let cli = Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
    let done = match &cli.command {
        Command::Group(group::Command::Create(typed)) => {
            typed.make(state, recipe::far_end("203.0.113.1 50000 22")).map(drop)
        }
        Command::Rule(rule::Command::Add(typed)) => {
            ops::rule::add(state, &typed.group, &typed.content()).map(drop)
        }
        Command::Rule(rule::Command::Remove(typed)) => {
            ops::rule::remove(state, &typed.group, &typed.which().unwrap()).map(drop)
        }
        other => panic!("{line}: {other:?}"),
    };
    done.unwrap_or_else(|error| panic!("{line}: {error}"));
}

/// What the commands of a block make of `made`.
fn made(before: &State, block: &[String]) -> (String, Vec<String>) {
    let mut state = before.clone();
    block.iter().for_each(|line| run(&mut state, line));
    let id: GroupId = ops::group::find_in_default_vpc(&state, "made").unwrap();
    (state.groups[&id].description.clone(), recipe::tests::said(&state, id))
}

#[test]
fn r1_to_r26_the_page_of_recipes_shows_what_they_make() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/recipes.md");
    let page = fs::read_to_string(page).unwrap();
    let mut sections = sections(&page).into_iter();
    let mut state = State::default();
    ops::ensure_default_vpc(&mut state);
    let prelude = sections.next().unwrap();
    prelude.blocks.concat().iter().for_each(|line| run(&mut state, line));

    let mut shown = Vec::new();
    let mut rows = BTreeSet::new();
    for section in sections {
        let heading = &section.heading;
        let [recipe, commands] = &section.blocks[..] else { panic!("{heading}: two blocks") };
        let name = heading.split('`').nth(1).unwrap_or_else(|| panic!("{heading}"));
        let [line] = &recipe[..] else { panic!("{heading}: one line") };
        assert!(words(line).windows(2).any(|pair| pair == ["--recipe", name]), "{heading}: {line}");
        assert!(commands.iter().all(|line| !line.contains("--recipe")), "{heading}");
        let (by_recipe, by_hand) = (made(&state, recipe), made(&state, commands));
        assert_eq!(by_recipe, by_hand, "{heading}");
        assert!(!by_recipe.1.is_empty(), "{heading}");
        rows.extend(
            heading
                .split(['(', ')', ' ', ','])
                .filter_map(|word| word.strip_prefix("R-")?.parse::<u8>().ok()),
        );
        shown.push(name.to_owned());
    }
    assert_eq!(shown, RECIPES.iter().map(|recipe| recipe.name).collect::<Vec<_>>());
    assert_eq!(rows, (1..=26).collect(), "a row of the reference is not shown");
}
