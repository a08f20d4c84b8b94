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

/// Times `count` calls of each kind and prints their medians as JSON.
pub(super) fn time(mut stream: &TcpStream, warmup: u64, count: u64, gap_us: u64) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut message = [7; MESSAGE_BYTES];
    let (mut sends, mut recvs, mut empty) = (Vec::new(), Vec::new(), Vec::new());
    for call in 0..warmup + count {
        let nothing = Stopwatch::start().ns();
        let watch = Stopwatch::start();
        stream.write_all(&message)?;
        let send = watch.ns();
        while watch.ns() < send + gap_us * 1_000 {}
        let watch = Stopwatch::start();
        let received = stream.read(&mut message);
        let recv = watch.ns();
        let whole = matches!(received, Ok(MESSAGE_BYTES));
        if !whole {
            // The answer took longer than the pause: this call found nothing and does not count.
            receive_rest(stream, &mut message, received)?;
        }
        if call >= warmup {
            empty.push(nothing);
            sends.push(send);
            if whole {
                recvs.push(recv);
            }
        }
    }
    let late = count - recvs.len() as u64;
    let watch_ns = median(&mut empty);
    let (send_ns, recv_ns) = (median(&mut sends), median(&mut recvs));
    let (send_ns, recv_ns) = (
        send_ns.saturating_sub(watch_ns),
        recv_ns.saturating_sub(watch_ns),
    );
    println!(
        "{}",
        serde_json::json!({ "send_ns": send_ns, "recv_ns": recv_ns, "calls": count, "late": late })
    );
    Ok(())
}

fn receive_rest(
    mut stream: &TcpStream,
    message: &mut [u8],
    received: io::Result<usize>,
) -> io::Result<()> {
    let mut have = match received {
        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
        Ok(n) => n,
        Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
        Err(e) => return Err(e),
    };
    while have < message.len() {
        match stream.read(&mut message[have..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn median(ns: &mut [u64]) -> u64 {
    ns.sort_unstable();
    ns.get(ns.len() / 2).copied().unwrap_or(0)
}
