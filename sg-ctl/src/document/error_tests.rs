//! What is told of a document that cannot be applied, and where.

use super::{WHOLE, apply, refusal};
use crate::{
    document::find_vpc,
    ops::{interface::tests::attached, testing::state, vpc},
};

#[test]
fn errors_name_file_line_and_field() {
    let (mut state, _) = state();
    attached(&mut state, "eth0", None);
    attached(&mut state, "vm0", Some("blue"));
    apply(&mut state, WHOLE, true);
    let web = "vpcs:\n- default: true\n  groups:\n  - name: web\n    ingress:\n";
    let rule =
        |rule: &str| format!("{web}    - {{protocol: tcp, ports: 1, cidr: 10.0.0.0/8}}\n    - {rule}\n");
    let in_rule = "sg.yaml:7: field 'vpcs[0].groups[0].ingress[1]";
    for (text, expected) in [
        (rule("{protocol: tcp, ports: 22, cidr: 10.0.0.0/33}"),
         format!("InvalidParameterValue: {in_rule}.cidr': CIDR block 10.0.0.0/33 is malformed; write it like 10.0.0.0/8 or 2001:db8::/32")),
        (rule("{protocol: tcp, ports: 22-21, cidr: 10.0.0.0/8}"),
         format!("InvalidParameterValue: {in_rule}.ports': Invalid TCP/UDP port range (22:21); the lower port comes first")),
        (rule("{protocol: tcp, cidr: 10.0.0.0/8}"),
         format!("InvalidParameterValue: {in_rule}.ports': Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")),
        (rule("{protocol: ipx, cidr: 10.0.0.0/8}"),
         format!("InvalidParameterValue: {in_rule}.protocol': Invalid value 'ipx' for IP protocol. Unknown protocol.")),
        (rule("{protocol: icmp, icmp-type: 8, icmp-code: 256, cidr: 10.0.0.0/8}"),
         format!("InvalidParameterValue: {in_rule}.icmp-code': ICMP code (256) out of range")),
        (rule("{protocol: icmp, icmp-type: 256, icmp-code: 0, cidr: 10.0.0.0/8}"),
         format!("InvalidParameterValue: {in_rule}.icmp-type': ICMP type (256) out of range")),
        (rule("{protocol: all}"),
         format!("MissingParameter: {in_rule}': The rule must contain exactly one of: cidr, group, prefix-list")),
        (rule("{protocol: all, cidr: 10.0.0.0/8, group: lb}"),
         format!("InvalidParameterCombination: {in_rule}': Only one of cidr, group, prefix-list can be specified")),
        (rule("{protocol: tcp, ports: 1, cidr: 10.1.0.0/8}"),
         format!("InvalidParameterValue: {in_rule}': The same permission must not appear multiple times")),
        (rule("{protocol: tcp, ports: 1, cidr: '::/0', description: Grüße}"),
         format!("InvalidParameterValue: {in_rule}.description': Invalid rule description. Valid descriptions are strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*")),
        (rule("{protocol: all, prefix-list: office}"),
         format!("InvalidPrefixListID.NotFound: {in_rule}.prefix-list': The prefix list 'office' does not exist; did you mean 'offices'?")),
        (rule("{protocol: all, group: shared/default}").replace("10.0.0.0/8}\n", "10.0.0.0/8, tags: {'aws:x': y}}\n"),
         "InvalidTagKey.Malformed: sg.yaml:6: field 'vpcs[0].groups[0].ingress[0].tags': Tag key 'aws:x' is not 1 to 128 characters that do not begin with 'aws:'".to_owned()),
        (rule("{protocol: all, group: sg-0123456789abcdef0}"),
         format!("InvalidGroup.NotFound: {in_rule}.group': The security group 'sg-0123456789abcdef0' does not exist")),
        // Of the text itself.
        (rule("{protocol: tcp, prots: 22}"),
         format!("UnknownParameter: {in_rule}.prots': unknown field `prots`, expected one of protocol, ports, icmp-type, icmp-code, cidr, group, prefix-list, description, tags")),
        (rule("{cidr: 10.0.0.0/8}"), format!("MissingParameter: {in_rule}': missing field `protocol`")),
        (rule("[tcp]"), format!("InvalidParameterValue: {in_rule}': an object with fields is expected")),
        (rule("{protocol: tcp"), "InvalidParameterValue: sg.yaml:7: field 'vpcs[0].groups[0].ingress': unclosed bracket '{'".to_owned()),
        ("quotas:\n  rules-per-group: -1\n".to_owned(),
         "InvalidParameterValue: sg.yaml:2: field 'quotas.rules-per-group': a whole number from 0 to 4294967295 is expected".to_owned()),
        ("quotas:\n  vpcs: 6\n  vpc: 6\n".to_owned(), "InvalidParameterValue: sg.yaml:3: field 'quotas.vpc': There is no quota 'vpc'; there are: ".to_owned()),
        ("vpcs: 5\n".to_owned(), "InvalidParameterValue: sg.yaml:1: field 'vpcs': a list is expected".to_owned()),
        ("vpcs: []\n---\nvpcs: []\n".to_owned(),
         "InvalidParameterValue: sg.yaml:3: only single YAML document expected but multiple found".to_owned()),
        // Of what there is.
        ("quotas: {groups-per-interface: 17}".to_owned(),
         "InvalidParameterValue: sg.yaml:1: field 'quotas.groups-per-interface': Value (17) for groups-per-interface is invalid. It must be a number from 1 to 16.".to_owned()),
        ("vpcs:\n- default: true\n  groups:\n  - name: web\n    description: other\n".to_owned(),
         "InvalidParameterValue: sg.yaml:5: field 'vpcs[0].groups[0].description': The description of a group is fixed when it is made: that of 'web' is 'Web: servers'".to_owned()),
        ("vpcs:\n- default: true\n  groups:\n  - name: new\n".to_owned(),
         "MissingParameter: sg.yaml:4: field 'vpcs[0].groups[0].description': The request must contain the parameter GroupDescription".to_owned()),
        ("vpcs:\n- default: true\n  groups:\n  - {name: web}\n  - {name: Web}\n".to_owned(),
         "InvalidGroup.Duplicate: sg.yaml:5: field 'vpcs[0].groups[1].name': The security group 'Web' appears twice in the document".to_owned()),
        ("vpcs:\n- name: shared\n  cidrs: [10.8.0.0/16]\n".to_owned(),
         format!("InvalidParameterValue: sg.yaml:3: field 'vpcs[0].cidrs': The blocks of a VPC are fixed when it is made: {} has [10.9.0.0/16]", find_vpc(&state, "shared").unwrap())),
        ("vpcs:\n- name: other\n  cidrs: [10.8.0.0/16,\n    10.8.0.0/15]\n".to_owned(),
         "InvalidVpc.Range: sg.yaml:4: field 'vpcs[0].cidrs[1]': The CIDR '10.8.0.0/15' is invalid: an IPv4 block has /16 to /28.".to_owned()),
        ("vpcs:\n- default: true\n  interfaces:\n  - {name: eth9, groups: [web]}\n".to_owned(),
         "InvalidNetworkInterfaceID.NotFound: sg.yaml:4: field 'vpcs[0].interfaces[0].name': The networkInterface ID 'eth9' does not exist; 'sg-ctl attach eth9' makes it known, and 'registered: true' with its addresses is for one that is enforced elsewhere".to_owned()),
        ("vpcs:\n- default: true\n  interfaces:\n  - name: eth0\n    groups:\n    - web\n    - admins\n".to_owned(),
         format!("InvalidSecurityGroupID.NotFound: sg.yaml:7: field 'vpcs[0].interfaces[0].groups[1]': The security group 'admins' does not exist in VPC '{}'; another VPC's goes by its id, and of that name there is sg-", vpc::default_vpc(&state).unwrap())),
        ("vpcs:\n- default: true\n  interfaces:\n  - {name: eth0, timeouts: {udp: 61}}\n".to_owned(),
         "InvalidParameterValue: sg.yaml:4: field 'vpcs[0].interfaces[0].timeouts.udp': Value (61) for UdpTimeout is invalid. It must be from 30 to 60 seconds.".to_owned()),
        ("vpcs:\n- default: true\n  interfaces:\n  - {name: guest, registered: true, addresses: [10.0.0.1/32]}\n".to_owned(),
         "InvalidParameterValue: sg.yaml:4: field 'vpcs[0].interfaces[0].addresses[0]': --address 10.0.0.1/32: not an IPv4 or IPv6 address (without a prefix length)".to_owned()),
        ("vpcs:\n- default: true\n  interfaces:\n  - {name: vm0, registered: true, addresses: [10.0.0.1]}\n".to_owned(),
         "IncorrectState: sg.yaml:4: field 'vpcs[0].interfaces[0].name': vm0 is attached here, as eni-".to_owned()),
        ("prefix-lists:\n- name: offices\n  max-entries: 1\n".to_owned(),
         "PrefixListMaxEntriesExceeded: sg.yaml:3: field 'prefix-lists[0].max-entries': ".to_owned()),
        ("prefix-lists:\n- name: offices\n  entries:\n  - {cidr: 2001:db8::/32}\n".to_owned(),
         "InvalidParameterValue: sg.yaml:4: field 'prefix-lists[0].entries[0].cidr': CIDR block 2001:db8::/32 is not IPv4, the prefix list's address family".to_owned()),
        ("peerings:\n- requester: shared\n  accepter: default\n".to_owned(),
         "InvalidParameterValue: sg.yaml:2: field 'peerings[0].requester': ".to_owned()),
    ] {
        let refused = refusal(&state, &text, false);
        // What to do next, behind EC2's own words, has its tests where it is said.
        assert!(refused.starts_with(&expected), "{text}\n got {refused}\nwant {expected}");
    }
}
