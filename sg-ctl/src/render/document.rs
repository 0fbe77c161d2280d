//! Answers of `sg-ctl export` and `sg-ctl apply`.

use super::{Output, json, table::escape};
use crate::document::{Change, Document, to_yaml};
use serde_json::json;
use std::io::{self, Write};

/// `export`
pub fn document(out: &mut impl Write, output: Output, document: &Document) -> io::Result<()> {
    match output {
        Output::Table => out.write_all(to_yaml(document).map_err(io::Error::other)?.as_bytes()),
        Output::Json => json(out, document),
    }
}

/// `apply`, and `apply --dry-run`
pub fn applied(out: &mut impl Write, output: Output, changes: &[Change], applied: bool) -> io::Result<()> {
    if output == Output::Json {
        return json(out, &json!({ "changes": changes, "applied": applied }));
    }
    for Change { change, object, what } in changes {
        match what.is_empty() {
            true => writeln!(out, "{change} {}", escape(object))?,
            false => writeln!(out, "{change} {}: {}", escape(object), escape(what))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        document::Mark,
        render::testing::{document as read, written},
    };

    #[test]
    fn changes_are_a_line_each() {
        let change = |change, object: &str, what: &str| Change {
            change,
            object: object.to_owned(),
            what: what.to_owned(),
        };
        let changes = [
            change(Mark::Added, "group default/web", "Web\nservers"),
            change(Mark::Removed, "rule default/web ingress tcp 22 from ::/0", ""),
            change(Mark::Changed, "interface eth0", "groups web -> db"),
        ];
        assert_eq!(
            written(|out| applied(out, Output::Table, &changes, true)),
            "+ group default/web: Web\\nservers\n\
             - rule default/web ingress tcp 22 from ::/0\n\
             ~ interface eth0: groups web -> db\n"
        );
        let printed = read(|out| applied(out, Output::Json, &changes[2..], false));
        let line = json!({ "change": "~", "object": "interface eth0", "what": "groups web -> db" });
        assert_eq!(printed, json!({ "changes": [line], "applied": false }));
        assert_eq!(written(|out| applied(out, Output::Table, &[], false)), "");
    }
}
