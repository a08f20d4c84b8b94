//! One send, a pause in which the answer arrives, one recv: the cost of each call by itself.

use super::MESSAGE_BYTES;
use crate::clock::Stopwatch;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// Answers one client after another; ends with an error only.
pub(super) fn echo(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        // A client that went away is none of the next one's business.
        let _ = answer(&stream);
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    loop {
        match stream.read(&mut message) {
            Ok(0) => return Ok(()),
            Ok(n) => stream.write_all(&message[..n])?,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// What was timed.
#[derive(Default)]
struct Timed {
    /// The stopwatch by itself.
    nothing: Vec<u64>,
    sends: Vec<u64>,
    /// Calls that returned the whole answer.
    recvs: Vec<u64>,
    /// All calls of recv, those that found nothing too.
    recv_calls: u64,
}

/// Times `count` calls of each kind and prints their medians as JSON.
pub(super) fn time(stream: &TcpStream, warmup: u64, count: u64, gap_us: u64) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut timed = Timed::default();
    for _ in 0..warmup {
        exchange(stream, gap_us, &mut timed)?;
    }
    timed = Timed {
        recv_calls: timed.recv_calls,
        ..Timed::default()
    };
    for _ in 0..count {
        exchange(stream, gap_us, &mut timed)?;
    }
    let late = count - timed.recvs.len() as u64;
    let watch_ns = median(&mut timed.nothing);
    let report = serde_json::json!({
        "send_ns": median(&mut timed.sends).saturating_sub(watch_ns),
        "recv_ns": median(&mut timed.recvs).saturating_sub(watch_ns),
        "calls": count,
        "recv_calls": timed.recv_calls,
        "late": late,
    });
    println!("{report}");
    Ok(())
}

/// One message there and back. Only a first recv that finds all of the answer counts; where there is less,
/// the next is tried after another pause.
fn exchange(mut stream: &TcpStream, gap_us: u64, timed: &mut Timed) -> io::Result<()> {
    let mut message = [7; MESSAGE_BYTES];
    timed.nothing.push(Stopwatch::start().ns());
    let watch = Stopwatch::start();
    stream.write_all(&message)?;
    timed.sends.push(watch.ns());
    let (mut have, mut first) = (0, true);
    while have < MESSAGE_BYTES {
        let pause = Stopwatch::start();
        while pause.ns() < gap_us * 1_000 {}
        let watch = Stopwatch::start();
        let received = stream.read(&mut message[have..]);
        let ns = watch.ns();
        timed.recv_calls += 1;
        match received {
            Ok(MESSAGE_BYTES) if first => timed.recvs.push(ns),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
            Ok(_) | Err(_) => {}
        }
        have += received.unwrap_or(0);
        first = false;
    }
    Ok(())
}

fn median(ns: &mut [u64]) -> u64 {
    ns.sort_unstable();
    ns.get(ns.len() / 2).copied().unwrap_or(0)
}
