//! A store that the first version wrote, in the hands of this one: opened, brought up to date, enforced.

use rusqlite::Connection;
use serde_json::Value;
use sg_tests::{
    ctl::Lab,
    enforced::{Look, agree},
    net::{IFACE, V4},
};

/// The interface that was attached when it was written, on a machine that is long gone.
const OLD: &str = "eni-6e3066490eef118f0";

fn version(connection: &Connection) -> String {
    let query = "SELECT value FROM meta WHERE key = 'schema_version'";
    connection.query_row(query, [], |row| row.get(0)).expect("a version")
}

/// Names of groups with how many rules they have, inward and outward.
fn groups(answer: &Value) -> Vec<(&str, usize, usize)> {
    let rules = |group: &Value, of: &str| group[of].as_array().expect("permissions").len();
    let groups = answer["SecurityGroups"].as_array().expect("groups").iter();
    groups
        .map(|group| {
            let name = group["GroupName"].as_str().expect("a name");
            (name, rules(group, "IpPermissions"), rules(group, "IpPermissionsEgress"))
        })
        .collect()
}

#[test]
fn a_store_of_the_first_version_is_read_migrated_and_enforced() {
    let lab = Lab::new();
    let connection = Connection::open(lab.ctl.state_dir().join("state.db")).expect("a database");
    connection.execute_batch(include_str!("store-v1.sql")).expect("the first version's store");
    assert_eq!(version(&connection), "1");

    // Looking changes nothing.
    let listed = lab.ctl.json("group list");
    assert_eq!(groups(&listed), [("db", 2, 1), ("default", 1, 1), ("web", 3, 1)]);
    let shown = lab.ctl.json(&format!("interface show {OLD}"));
    let interface = &shown["NetworkInterfaces"][0];
    assert_eq!(interface["ConnectionTrackingConfiguration"]["TcpEstablishedTimeout"], 3600);
    assert_eq!(version(&connection), "1");

    // A change brings it up to date, with all that was in it.
    lab.ctl.json(&format!("detach {OLD}"));
    assert_ne!(version(&connection), "1");
    assert_eq!(lab.ctl.json("group list"), listed);

    // What it says is enforced: the administrator's rule, the open one, and nothing else.
    lab.attach("--group web --group db");
    agree(&lab.ctl, Look::Settled);
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.refuses(V4.other, V4.host, 22);
    lab.connect(V4.other, V4.host, 85).goes_on();
    lab.refuses(V4.other, V4.host, 5432);
    lab.ctl.json(&format!("interface set-groups {IFACE} db"));
    lab.refuses(V4.admin, V4.host, 22);
}
