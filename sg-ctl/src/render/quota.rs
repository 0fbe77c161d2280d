//! Answers of `sg-ctl quota`.

use super::{Output, json, table::Table};
use crate::model::{Quota, Quotas};
use serde::Serialize;
use std::io::{self, Write};

/// `quota`
pub fn quotas(out: &mut impl Write, output: Output, quotas: &Quotas) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document {
        quotas: Vec<Entry>,
    }
    #[derive(Serialize)]
    struct Entry {
        name: Quota,
        value: u32,
        default: u32,
    }
    if output == Output::Json {
        let entry = |name: Quota| Entry { name, value: quotas.get(name), default: name.default_value() };
        return json(out, &Document { quotas: Quota::ALL.map(entry).into() });
    }
    let mut table = Table::new(&["QUOTA", "VALUE", "DEFAULT"]);
    for quota in Quota::ALL {
        table.row([quota.to_string(), quotas.get(quota).to_string(), quota.default_value().to_string()]);
    }
    table.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::testing::{document, written};
    use serde_json::json;

    #[test]
    fn quotas_with_their_defaults() {
        let mut set = Quotas::default();
        set.0.insert(Quota::Vpcs, 7);
        let printed = document(|out| quotas(out, Output::Json, &set));
        let printed = printed["quotas"].as_array().unwrap();
        assert_eq!(printed.len(), 11);
        assert_eq!(printed[0], json!({ "name": "rules-per-group", "value": 60, "default": 60 }));
        assert_eq!(printed[4], json!({ "name": "vpcs", "value": 7, "default": 5 }));
        let table = written(|out| quotas(out, Output::Table, &set));
        assert!(table.starts_with(
            "QUOTA                       VALUE  DEFAULT\nrules-per-group             60     60\n"
        ));
        assert_eq!(table.lines().count(), 12);
    }
}
