//! The client: sends pings, takes the time, reports.

use super::channel::{Channel, PATIENCE, Received};
use super::clock::Moment;
use super::report::{Histogram, Report, Row};
use super::session::{self, LAST, MORE, Phase, Ready, Session};
use super::{Load, PORT, bind_to};
use anyhow::{Context as _, bail};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::process::{Child, Command, Stdio};

/// So many pings in a row may stay without an answer.
const LOST_IN_A_ROW_MAX: u32 = 3;

/// Finds the server's address by name, address, or either with a port.
pub(super) fn resolve(host: &str, load: &Load) -> anyhow::Result<SocketAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = match bare.parse() {
        Ok(ip) => vec![SocketAddr::new(ip, PORT)],
        Err(_) => host
            .to_socket_addrs()
            .or_else(|_| (host, PORT).to_socket_addrs())
            .with_context(|| format!("cannot find {host}"))?
            .collect(),
    };
    let wanted =
        |address: &&SocketAddr| !(load.ipv4 && address.is_ipv6() || load.ipv6 && address.is_ipv4());
    found
        .iter()
        .find(wanted)
        .copied()
        .with_context(|| format!("{host} has no such address"))
}

/// A server process that lives as long as this value.
struct LocalServer(Child);

impl Drop for LocalServer {
    fn drop(&mut self) {
        // It ended by itself unless something failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server on this host, measures, and ends it.
pub(super) fn run_local(load: &Load) -> anyhow::Result<()> {
    let listen = if load.ipv6 { "[::1]:0" } else { "127.0.0.1:0" };
    let program = std::env::current_exe().context("cannot find the own executable")?;
    let mut server = Command::new(program)
        .args([
            "pingpong",
            "server",
            "--once",
            "--with-parent",
            "--listen",
            listen,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .map(LocalServer)
        .context("cannot start the server")?;
    let mut line = String::new();
    if let Some(stdout) = server.0.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("cannot read from the server")?;
    }
    let address = line
        .trim_end()
        .strip_prefix("# listening on ")
        .and_then(|address| address.parse().ok())
        .context("the server did not start")?;
    run(address, load)?;
    let status = server.0.wait().context("cannot wait for the server")?;
    if !status.success() {
        bail!("the server ended with {status}");
    }
    Ok(())
}

/// Measures against the server at `address` and prints the report.
pub(super) fn run(address: SocketAddr, load: &Load) -> anyhow::Result<()> {
    bind_to(load.affinity.client)?;
    let control = TcpStream::connect(address).with_context(|| {
        format!("cannot connect to {address} (is `sidestep pingpong server` running there?)")
    })?;
    let mut session = load.session();
    let mut channel = open(&control, address, &mut session)?;
    let mut report = Report::new(session, address, load);
    report.begin()?;
    for &bytes in &load.sizes {
        control.set_nonblocking(false)?;
        session::say(&control, &Phase { bytes })?;
        hear_ready(&control)?;
        control.set_nonblocking(!session.udp && session.mode != super::Mode::Blocking)?;
        let row = measure(&mut channel, bytes, load)
            .with_context(|| format!("while measuring messages of {bytes} bytes"))?;
        report.row(row)?;
    }
    report.end()
}

fn hear_ready(control: &TcpStream) -> anyhow::Result<u16> {
    session::hear::<Ready>(control)?
        .context("the server closed the connection; its own output says why")?
        .udp_port()
}

fn open(control: &TcpStream, server: SocketAddr, session: &mut Session) -> anyhow::Result<Channel> {
    if !session.udp {
        session::say(control, session)?;
        hear_ready(control)?;
        return Ok(Channel::tcp(control.try_clone()?, session)?);
    }
    let socket = UdpSocket::bind(SocketAddr::new(control.local_addr()?.ip(), 0))
        .context("cannot bind a UDP socket")?;
    session.udp_port = socket.local_addr()?.port();
    session::say(control, session)?;
    let mut peer = server;
    peer.set_port(hear_ready(control)?);
    Channel::udp(socket, peer, session).context("cannot prepare the UDP socket")
}

/// All pings of one size.
fn measure(channel: &mut Channel, bytes: usize, load: &Load) -> anyhow::Result<Row> {
    let mut ping: Vec<u8> = (0..=250).cycle().take(bytes).collect();
    let mut pong = vec![0; bytes];
    let mut lost = 0;
    ping[0] = MORE;
    for _ in 0..load.warmup {
        pong.fill(0);
        round_trip(channel, &ping, &mut pong, &mut lost)?;
        if pong != ping {
            bail!("an answer of {bytes} bytes differs from what was sent");
        }
    }
    let mut round_trips = Histogram::new();
    let begin = Moment::now();
    let limit_ns = u64::try_from(load.duration.as_nanos()).unwrap_or(u64::MAX);
    for _ in 0..load.iter {
        let sent = Moment::now();
        let answered = round_trip(channel, &ping, &mut pong, &mut lost)?;
        let received = Moment::now();
        if answered {
            round_trips.record(received.ns_since(sent));
        }
        if received.ns_since(begin) >= limit_ns {
            break;
        }
    }
    ping[0] = LAST;
    channel.send(&ping)?;
    // Whether the last one came back changes nothing: the server goes on by the control connection, too.
    let sent = Moment::now();
    channel.receive(&mut pong, || sent.elapsed() >= PATIENCE)?;
    Ok(Row::new(bytes, &round_trips, lost, load.percentile))
}

/// One ping and its answer. Retries what was lost (UDP), and then returns false.
#[inline]
fn round_trip(
    channel: &mut Channel,
    ping: &[u8],
    pong: &mut [u8],
    lost: &mut u64,
) -> anyhow::Result<bool> {
    channel.send(ping)?;
    match channel.receive(pong, give_up_after_patience())? {
        Received::Message => Ok(true),
        Received::End => bail!("the server closed the connection"),
        Received::Nothing => retry(channel, ping, pong, lost).map(|()| false),
    }
}

#[cold]
fn retry(
    channel: &mut Channel,
    ping: &[u8],
    pong: &mut [u8],
    lost: &mut u64,
) -> anyhow::Result<()> {
    for _ in 0..LOST_IN_A_ROW_MAX {
        *lost += 1;
        channel.send(ping)?;
        match channel.receive(pong, give_up_after_patience())? {
            Received::Message => return Ok(()),
            Received::End => bail!("the server closed the connection"),
            Received::Nothing => {}
        }
    }
    bail!(
        "no answer in {LOST_IN_A_ROW_MAX} tries (is the message too long for the link, or filtered?)"
    )
}

/// Asked now and then while nothing comes; the first question starts the clock, so that the fast path never reads it.
fn give_up_after_patience() -> impl FnMut() -> bool {
    let mut asked: Option<Moment> = None;
    move || match asked {
        Some(first) => first.elapsed() >= PATIENCE,
        None => {
            asked = Some(Moment::now());
            false
        }
    }
}
