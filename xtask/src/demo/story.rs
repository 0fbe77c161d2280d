//! The story itself, from an open machine to a closed one and back.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::lab::{ADMIN, HOST_V4, HOST_V6, INTERFACE, Lab, OTHER, OTHER_V6};
use super::peers::{self, EchoServer, Stream};
use super::stage::Stage;

const SSH: u16 = 22;
const WEB: u16 = 80;
const DNS: u16 = 53;

const SSH_RULE: [&str; 7] = ["ingress", "--protocol", "tcp", "--port", "22", "--cidr", "203.0.113.1/32"];
const WEB_RULE: [&str; 9] =
    ["ingress", "--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0", "--cidr", "::/0"];
const DNS_RULE: [&str; 7] = ["ingress", "--protocol", "udp", "--port", "53", "--cidr", "0.0.0.0/0"];

/// How long after the command's return a last answer may still be on its way to the client's thread.
const ON_THE_WAY: Duration = Duration::from_millis(20);

pub fn play(stage: &Stage, lab: &Lab) -> Result<()> {
    let _servers = [
        EchoServer::tcp(&lab.host, SSH).context("cannot start the SSH-like server")?,
        EchoServer::tcp(&lab.host, WEB).context("cannot start the web server")?,
        EchoServer::udp(&lab.host, DNS).context("cannot start the DNS-like server")?,
    ];
    open(stage, lab)?;
    default_deny(stage, lab)?;
    let mut ssh = narrow_rule(stage, lab)?;
    let web = open_to_the_world(stage, lab)?;
    close(stage, lab, &mut ssh, &web)?;
    look(stage, lab)?;
    drop((ssh, web));
    detach(stage, lab)
}

fn open(stage: &Stage, lab: &Lab) -> Result<()> {
    stage.step("Before: a host with an interface, servers on ports 22, 80 and 53, and no protection")?;
    stage.note(&format!("The host is a network namespace with {HOST_V4} and {HOST_V6} on {INTERFACE};"));
    stage.note(&format!("clients call from another namespace, from {ADMIN}, {OTHER} and {OTHER_V6}."));
    let flags: Vec<_> = lab.flags().iter().map(|flag| flag.to_string_lossy().into_owned()).collect();
    stage.note(&format!("Every sg-ctl below also has {}", flags.join(" ")));
    stage.check(connects(lab, ADMIN, HOST_V4, SSH)?, "anybody reaches port 22")
}

fn default_deny(stage: &Stage, lab: &Lab) -> Result<()> {
    stage.step("Default deny: a new group has no inbound rule")?;
    stage.run(lab, &["group", "create", "web", "--description", "Web servers"])?;
    stage.run(lab, &["attach", INTERFACE, "--group", "web"])?;
    stage.check(
        !connects(lab, ADMIN, HOST_V4, SSH)?,
        "port 22 does not answer any more (timeout after 300 ms)",
    )?;
    stage.check(!connects(lab, OTHER_V6, HOST_V6, WEB)?, "neither does port 80 over IPv6")?;
    stage.check(!dns_answers(lab)?, "nor the UDP server")
}

fn narrow_rule(stage: &Stage, lab: &Lab) -> Result<TcpStream> {
    stage.step("A narrow rule admits one address")?;
    stage.run(lab, &[&["rule", "add", "web"][..], &SSH_RULE].concat())?;
    let ssh = connect(lab, ADMIN, HOST_V4, SSH)?;
    stage.check(ssh.is_some(), &format!("{ADMIN} opens an SSH-like session, and keeps it"))?;
    let mut ssh = ssh.context("no connection")?;
    stage.check(peers::echoes(&mut ssh, "whoami\n"), "the session answers")?;
    stage.check(!connects(lab, OTHER, HOST_V4, SSH)?, &format!("{OTHER} does not get in"))?;
    Ok(ssh)
}

fn open_to_the_world(stage: &Stage, lab: &Lab) -> Result<Stream> {
    stage.step("Open to the world: such flows are not tracked, as on EC2")?;
    stage.run(lab, &[&["rule", "add", "web"][..], &WEB_RULE].concat())?;
    stage.run(lab, &[&["rule", "add", "web"][..], &DNS_RULE].concat())?;
    let web = connect(lab, OTHER, HOST_V4, WEB)?;
    stage.check(web.is_some(), &format!("{OTHER} connects to port 80"))?;
    let web = Stream::start(web.context("no connection")?)?;
    stage.wait(Duration::from_millis(500))?;
    let answers = web.seen().answers;
    stage.check(answers > 100, &format!("and streams: {answers} answers in half a second"))?;
    stage.check(connects(lab, OTHER_V6, HOST_V6, WEB)?, "port 80 answers over IPv6 too")?;
    stage.check(dns_answers(lab)?, "the UDP server answers")?;
    let flows = lab.json(&["conntrack", "list"])?;
    stage.check(has_flow(&flows, SSH), "the flow table holds the SSH-like session")?;
    stage.check(!has_flow(&flows, WEB), "and nothing of port 80: no state, no limit on connections")?;
    Ok(web)
}

fn close(stage: &Stage, lab: &Lab, ssh: &mut TcpStream, web: &Stream) -> Result<()> {
    stage.step("Rules go while both connections are open")?;
    stage.run(lab, &[&["rule", "remove", "web"][..], &SSH_RULE].concat())?;
    let before = web.seen().answers;
    let removal = stage.run(lab, &[&["rule", "remove", "web"][..], &WEB_RULE].concat())?;
    stage.wait(ON_THE_WAY)?;
    let end = web.seen();
    stage.note(&format!("`rule remove` took {}.", ms(removal.returned - removal.started)));
    stage.note(&format!(
        "The last answer of port 80 came {} after its start, {} its return.",
        ms(end.last.saturating_duration_since(removal.started)),
        relative(end.last, removal.returned),
    ));
    stage.check(end.last < removal.returned + ON_THE_WAY, "the untracked stream died with its rule")?;
    stage.wait(Duration::from_millis(1_000))?;
    let later = web.seen().answers;
    stage.check(
        later == end.answers,
        &format!("and stays dead: {before} answers before the command, {later} a second after it"),
    )?;
    stage.check(
        peers::echoes(ssh, "still there?\n"),
        "the tracked SSH-like session goes on without its rule",
    )?;
    stage.check(!connects(lab, ADMIN, HOST_V4, SSH)?, &format!("while {ADMIN} cannot open a new one"))?;
    stage.run(lab, &[&["rule", "remove", "web"][..], &DNS_RULE].concat())?;
    stage.check(!dns_answers(lab)?, "the UDP server is closed as well")
}

fn look(stage: &Stage, lab: &Lab) -> Result<()> {
    stage.step("What the kernel counted, which flows it tracks, what is attached")?;
    stage.run(lab, &["counters"])?;
    let counters = lab.json(&["counters"])?;
    let ingress = &counters["interfaces"][0]["ingress"];
    let refused = ingress["dropped"]["no_rule"]["packets"].as_u64().unwrap_or(0);
    stage.check(refused > 0, &format!("{refused} packets were dropped because no rule admits them"))?;
    let cut = ingress["dropped"]["no_connection"]["packets"].as_u64().unwrap_or(0);
    stage.check(cut > 0, &format!("{cut} because the connection they belonged to was cut"))?;
    stage.run(lab, &["conntrack", "list"])?;
    let flows = lab.json(&["conntrack", "list"])?;
    stage.check(has_flow(&flows, SSH), "the SSH-like session is in the flow table")?;
    stage.run(lab, &["status"])?;
    let status = lab.json(&["status"])?;
    let enforcing = status["interfaces"][0]["enforcing"].as_bool() == Some(true);
    stage.check(enforcing, "enforced by pinned programs: no sg-ctl process is running")
}

fn detach(stage: &Stage, lab: &Lab) -> Result<()> {
    stage.step("Detach leaves nothing behind")?;
    stage.run(lab, &["detach", INTERFACE])?;
    stage.check(connects(lab, OTHER, HOST_V4, SSH)?, "anybody reaches port 22 again")?;
    let pins = lab.pins();
    let listed = pins.iter().map(|pin| pin.display().to_string()).collect::<Vec<_>>().join(", ");
    let claim =
        if pins.is_empty() { "no program or map is left".to_owned() } else { format!("left: {listed}") };
    stage.check(pins.is_empty(), &claim)
}

fn connect(lab: &Lab, from: IpAddr, to: IpAddr, port: u16) -> Result<Option<TcpStream>> {
    peers::connect(&lab.client, from, SocketAddr::new(to, port))
        .with_context(|| format!("connecting from {from} to port {port} of {to}"))
}

/// Does a connection come about, and does it answer?
fn connects(lab: &Lab, from: IpAddr, to: IpAddr, port: u16) -> Result<bool> {
    Ok(connect(lab, from, to, port)?.is_some_and(|mut stream| peers::echoes(&mut stream, "hello\n")))
}

fn dns_answers(lab: &Lab) -> Result<bool> {
    peers::udp_answers(&lab.client, OTHER, SocketAddr::new(HOST_V4, DNS)).context("asking the UDP server")
}

fn has_flow(flows: &Value, port: u16) -> bool {
    let of_port = |flow: &Value| flow["protocol"] == "tcp" && flow["local_port"] == port;
    flows["flows"].as_array().is_some_and(|list| list.iter().any(of_port))
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn relative(moment: Instant, to: Instant) -> String {
    match to.checked_duration_since(moment) {
        Some(before) => format!("{} before", ms(before)),
        None => format!("{} after", ms(moment - to)),
    }
}
