//! What is taken and what is wrong usage.

use super::*;
use crate::{
    attach::{Adopt, AttachRequest, ModeChoice},
    model::Side,
    ops::rule::Which,
};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(["sg-ctl"].into_iter().chain(line.split_whitespace()))
}

/// The exit code of a line that is not run.
fn exit_code(line: &str) -> i32 {
    parse(line).unwrap_err().exit_code()
}

fn which(line: &str) -> Result<Which> {
    match parse(line).unwrap().command {
        Command::Rule(rule::Command::Remove(typed)) => typed.which(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}

#[test]
fn cli_global_flags_stand_before_or_after_the_command() {
    for line in [
        "-o json --netns blue --state-dir /s --bpffs /b --store sqlite:/x -vv group list",
        "group list -o json --netns blue --state-dir /s --bpffs /b --store sqlite:/x -vv",
        "group --output json list --netns=blue --state-dir /s --bpffs /b --store sqlite:/x --verbose --verbose",
    ] {
        let global = parse(line).unwrap().global;
        assert_eq!(global.output, Output::Json, "{line}");
        assert_eq!(global.netns.as_deref(), Some("blue"), "{line}");
        assert_eq!(global.state_dir, PathBuf::from("/s"), "{line}");
        assert_eq!(global.bpffs, PathBuf::from("/b"), "{line}");
        assert_eq!(global.store.as_deref(), Some("sqlite:/x"), "{line}");
        assert_eq!(global.verbose, 2, "{line}");
    }
}

#[test]
fn cli_an_empty_variable_leaves_the_default() {
    let read = |is_empty: fn(&OsStr) -> bool| {
        commands(is_empty).get_arguments().filter_map(|arg| arg.get_env()).count()
    };
    assert_eq!(read(|_| false), 5);
    assert_eq!(read(|name| name == "SG_STATE_DIR"), 4);
}

#[test]
fn cli_flags_have_the_environment_and_defaults_of_the_contract() {
    let command = Cli::command();
    let told = |flag: &str| {
        let arg = command.get_arguments().find(|arg| arg.get_id() == flag).unwrap();
        let env = arg.get_env().map(|env| env.to_str().unwrap().to_owned());
        let default = arg.get_default_values().first().map(|value| value.to_str().unwrap().to_owned());
        (env.unwrap_or_default(), default.unwrap_or_default())
    };
    let pair = |env: &str, default: &str| (env.to_owned(), default.to_owned());
    assert_eq!(told("output"), pair("SG_OUTPUT", "table"));
    assert_eq!(told("state_dir"), pair("SG_STATE_DIR", "/var/lib/sg-ctl"));
    assert_eq!(told("store"), pair("SG_STORE", ""));
    assert_eq!(told("bpffs"), pair("SG_BPFFS", "/sys/fs/bpf/sg-ctl"));
    assert_eq!(told("netns"), pair("SG_NETNS", ""));
}

#[test]
fn cli_wrong_usage_is_exit_2() {
    for line in [
        "",
        "nonsense",
        "attach",
        "attach eth0 --frobnicate",
        "attach eth0 --mode fast",
        "attach eth0 --side left",
        "attach eth0 --adopt some",
        "attach eth0 --non-ip maybe",
        "attach eth0 --no-exempt arp",
        "status -o yaml",
        "group create web",
        "rule add web sideways --protocol tcp --cidr 10.0.0.0/8",
        "rule add web ingress --cidr 10.0.0.0/8",
        "rule add web ingress --protocol tcp --port 22",
        "rule remove web",
        "interface set-groups eth0",
        "explain eth0 ingress --protocol tcp",
        "explain eth0 sideways --protocol tcp --remote 10.0.0.1",
        "explain eth0 --protocol tcp --remote 10.0.0.1",
        "interface set-timeouts eth0",
        "interface set-timeouts --udp 30",
        "prefix-list create x --max-entries 5",
        "prefix-list create x --family ipv4",
        "prefix-list create x --family ipv5 --max-entries 5",
        "prefix-list add x",
        "prefix-list restore x",
        "prefix-list import x",
        // Nothing is to be changed.
        "rule modify sgr-12345678",
        "rule modify sgr-12345678 --report",
        "rule modify --port 22",
        "rule describe sgr-12345678",
        "tag sg-12345678",
        "untag sg-12345678",
        "group copy web",
        // Commands and flags of later versions are not there yet.
        "attach eth0 --confirm-within 60",
    ] {
        assert_eq!(exit_code(line), 2, "{line}");
    }
}

#[test]
fn cli_values_are_not_claps_to_refuse() {
    for line in [
        "rule add web ingress --protocol -1 --cidr nonsense",
        "rule add web ingress --protocol nonsense --port -1 --cidr 10.0.0.0/99",
        "rule add web ingress --protocol icmp --icmp-type -1 --icmp-code -1 --source-group sg-",
        "rule add web ingress --protocol icmp --icmp-code 0 --cidr 10.0.0.0/8",
        "rule modify nonsense --protocol -1 --port -1 --icmp-type -1 --icmp-code -1 --cidr nonsense --cidr twice",
        "rule describe nonsense text",
        "tag nonsense nonsense",
        "untag nonsense nonsense",
        "group list --filter nonsense --filter nonsense",
        "rule list --filter nonsense",
        "group copy nonsense sg-x --vpc nonsense --description é",
        "group create sg-x --description x --tag nonsense --vpc nonsense",
        "conntrack list eth0 --protocol nonsense --remote nonsense",
        "attach eth0 --address nonsense",
        "rule add web ingress --protocol tcp --port 22 --prefix-list pl-",
        "prefix-list create com.amazonaws --family ipv4 --max-entries -1 --entry nonsense --entry ::/0=x --tag y",
        "prefix-list create x --family IPv4 --max-entries 5",
        "prefix-list add pl- nonsense 10.0.0.0/8=x --current-version -1",
        "prefix-list restore pl- --version -1",
        "prefix-list show pl- --version first",
        "prefix-list resize pl- -1",
        "prefix-list import pl- -",
        "explain eth0 ingress --protocol -1 --remote nonsense --port -1 --source-port -1 --icmp-type -1",
        "interface set-timeouts eth0 --tcp-established 5d --udp -1 --udp-stream nonsense",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn cli_attach_has_the_defaults_of_the_contract() {
    let request = |line: &str| match parse(line).unwrap().command {
        Command::Attach(typed) => AttachRequest::from(&typed),
        other => panic!("{other:?}"),
    };
    let plain = request("attach eth0");
    assert_eq!(plain.name, "eth0");
    assert!(plain.groups.is_empty() && plain.vpc.is_none() && plain.addresses.is_empty());
    assert!(matches!((plain.mode, plain.side, plain.adopt), (ModeChoice::Auto, Side::Host, Adopt::Existing)));
    assert_eq!(plain.options, Default::default());

    let full = request(
        "attach tap0 --group a --group b --vpc vpc-12345678 --mode tc --side guest --adopt none --address 10.0.0.5 \
         --address fd00::5 --no-exempt link-local,dhcp --require-icmp-rules --non-ip pass --no-source-dest-check \
         --force-track --vlan-aware",
    );
    assert_eq!(full.groups, ["a", "b"]);
    assert_eq!(full.vpc.as_deref(), Some("vpc-12345678"));
    assert!(matches!((full.mode, full.side, full.adopt), (ModeChoice::Tc, Side::Guest, Adopt::None)));
    assert_eq!(full.addresses, ["10.0.0.5", "fd00::5"]);
    let options = full.options;
    assert!(options.no_exempt_link_local && options.no_exempt_dhcp && options.require_icmp_rules);
    assert!(options.non_ip_pass && options.no_source_dest_check && options.force_track);
    assert!(options.vlan_aware);
}

#[test]
fn cli_rule_add_makes_one_rule_for_each_source() {
    let line = "rule add web egress --protocol TCP --port 1-2 --cidr 10.0.0.0/8 --source-group db --prefix-list pl \
                --cidr ::/0 --description text";
    let Command::Rule(rule::Command::Add(typed)) = parse(line).unwrap().command else { panic!() };
    let content = typed.content();
    assert_eq!(content.cidrs, ["10.0.0.0/8", "::/0"]);
    assert_eq!(content.source_groups, ["db"]);
    assert_eq!(content.prefix_lists, ["pl"]);
    assert_eq!((content.protocol.as_str(), content.port.as_deref()), ("TCP", Some("1-2")));
    assert_eq!(content.description.as_deref(), Some("text"));
}

#[test]
fn cli_rule_remove_takes_ids_or_content() {
    let ids = which("rule remove web sgr-12345678 sgr-12345679").unwrap();
    assert!(matches!(ids, Which::Ids(ids) if ids == ["sgr-12345678", "sgr-12345679"]));
    let content = which("rule remove web ingress --protocol tcp --port 22 --cidr 10.0.0.0/8").unwrap();
    assert!(matches!(content, Which::Content(content) if content.port.as_deref() == Some("22")));
    for line in [
        "rule remove web ingress",
        "rule remove web ingress --protocol tcp --port 22",
        "rule remove web ingress --cidr 10.0.0.0/8",
        "rule remove web sgr-12345678 --protocol tcp --port 22 --cidr 10.0.0.0/8",
        "rule remove web sgr-12345678 --description x",
        "rule remove web ingress egress --protocol all --cidr 10.0.0.0/8",
    ] {
        let error = which(line).unwrap_err().downcast::<clap::Error>().unwrap();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn cli_rule_modify_takes_the_flags_of_add() {
    let line = "rule modify sgr-12345678 --protocol -1 --port 1-2 --icmp-type -1 --icmp-code 3 --cidr 10.0.0.0/8 \
                --source-group db --description text --report";
    let Command::Rule(rule::Command::Modify(typed)) = parse(line).unwrap().command else { panic!() };
    let changes = typed.changes();
    assert_eq!((changes.protocol.as_deref(), changes.port.as_deref()), (Some("-1"), Some("1-2")));
    assert_eq!((changes.icmp_type.as_deref(), changes.icmp_code.as_deref()), (Some("-1"), Some("3")));
    assert_eq!((changes.cidrs, changes.source_groups), (vec!["10.0.0.0/8".into()], vec!["db".into()]));
    assert_eq!(changes.description.as_deref(), Some("text"));
}

#[test]
fn cli_conntrack_filters_are_checked_by_us() {
    let filter = |line: &str| match parse(line).unwrap().command {
        Command::Conntrack(datapath::Conntrack::List(typed)) => typed.filter(),
        other => panic!("{other:?}"),
    };
    let read = filter("conntrack list eth0 --protocol tcp --remote 10.0.0.1/8").unwrap();
    assert_eq!((read.interface.as_deref(), read.protocol), (Some("eth0"), Some(6)));
    assert_eq!(read.remote.unwrap().to_string(), "10.0.0.0/8");
    assert_eq!(filter("conntrack list --protocol all").unwrap().protocol, None);
    assert!(filter("conntrack list --protocol x").is_err());
    assert!(filter("conntrack list --remote x").is_err());
}

#[test]
fn cli_an_error_is_one_line_with_a_code() {
    let refusal = anyhow::Error::from(Refusal::invalid("two\nlines \x1b[31m"));
    assert_eq!(error_line(&refusal, Output::Table), "error: InvalidParameterValue: two\\nlines \\u{1b}[31m");
    assert_eq!(
        error_line(&refusal, Output::Json),
        r#"{"error":{"code":"InvalidParameterValue","message":"two\nlines \u001b[31m"}}"#
    );
    let with_context = refusal.context("while attaching");
    assert!(error_line(&with_context, Output::Table).starts_with("error: InvalidParameterValue: two"));
    let other = anyhow::anyhow!("inner").context("outer");
    assert_eq!(error_line(&other, Output::Table), "error: InternalError: outer: inner");
}
