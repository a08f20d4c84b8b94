//! The server: one session after another, each as its client asks.

use super::Server;
use super::channel::{Channel, Received};
use super::session::{self, LAST, Phase, Ready, Session};
use crate::output;
use anyhow::Context as _;
use rustix::process::Signal;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

/// Listens and serves until killed, or for one session.
pub(super) fn serve(args: &Server) -> anyhow::Result<()> {
    if args.with_parent {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    }
    let listener = TcpListener::bind(args.listen).with_context(|| {
        format!(
            "cannot listen on {} (choose another with --listen)",
            args.listen
        )
    })?;
    let address = listener.local_addr()?;
    // Whoever started this may read the address from here; that nobody does is no reason to stop.
    let _ = output::print(&format!("# listening on {address}\n"));
    loop {
        let (control, peer) = listener.accept().context("cannot accept a client")?;
        let outcome = session(&control, peer, args).with_context(|| format!("session of {peer}"));
        if args.once {
            return outcome;
        }
        if let Err(error) = outcome {
            eprintln!("sidestep: {error:#}");
        }
    }
}

fn session(control: &TcpStream, peer: SocketAddr, args: &Server) -> anyhow::Result<()> {
    let Some(session) = session::hear::<Session>(control)? else {
        return Ok(());
    };
    let mut channel = match open(control, peer, &session, args) {
        Ok((channel, udp_port)) => {
            session::say(control, &Ready::Yes { udp_port })?;
            channel
        }
        Err(error) => {
            let reason = format!("{error:#}");
            session::say(control, &Ready::No { reason })?;
            return Err(error);
        }
    };
    loop {
        control.set_nonblocking(false)?;
        let Some(phase) = session::hear::<Phase>(control)? else {
            return Ok(());
        };
        session::check_size(phase.bytes, session.udp)?;
        session::say(control, &Ready::Yes { udp_port: 0 })?;
        // With UDP the control connection is looked at while waiting for pings; with TCP it carries them.
        control.set_nonblocking(session.udp || session.mode != super::Mode::Blocking)?;
        if !echo(&mut channel, phase.bytes, &session, control)? {
            return Ok(());
        }
    }
}

/// The socket that the pings will come by, and its port if it is one of its own.
fn open(
    control: &TcpStream,
    peer: SocketAddr,
    session: &Session,
    args: &Server,
) -> anyhow::Result<(Channel, u16)> {
    super::bind_to(args.affinity.or(session.server_cpu))?;
    if !session.udp {
        return Ok((Channel::tcp(control.try_clone()?, session)?, 0));
    }
    let socket = UdpSocket::bind(SocketAddr::new(control.local_addr()?.ip(), 0))
        .context("cannot bind a UDP socket")?;
    let port = socket.local_addr()?.port();
    let mut peer = peer;
    peer.set_port(session.udp_port);
    Ok((Channel::udp(socket, peer, session)?, port))
}

/// Sends back what comes until the client says that it was the last. False when the client is gone.
fn echo(
    channel: &mut Channel,
    bytes: usize,
    session: &Session,
    control: &TcpStream,
) -> anyhow::Result<bool> {
    let mut message = vec![0; bytes];
    // When the last datagram was lost, the client goes on by the control connection, or closes it.
    let moved_on = || {
        session.udp
            && !matches!(control.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    };
    loop {
        match channel.receive(&mut message, moved_on)? {
            Received::Message => {
                channel.send(&message)?;
                if message[0] == LAST {
                    return Ok(true);
                }
            }
            Received::End => return Ok(false),
            Received::Nothing => return Ok(true),
        }
    }
}
