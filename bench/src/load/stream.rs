//! A stream one way, its length confirmed by the receiver.

use crate::clock::Stopwatch;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

/// Bytes of one write, and room of one read.
const CALL_BYTES: usize = 64 << 10;

/// Receives stream after stream; ends with an error only.
pub(super) fn sink(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        receive(&stream?)?;
    }
    Ok(())
}

/// Receives one stream to its end and answers with its length.
pub(super) fn receive(mut stream: &TcpStream) -> io::Result<()> {
    let mut room = vec![0; CALL_BYTES];
    let mut total = 0_u64;
    loop {
        match stream.read(&mut room)? {
            0 => return stream.write_all(&total.to_le_bytes()),
            n => total += n as u64,
        }
    }
}

/// Sends for so long, and prints the rate up to the receiver's confirmation as JSON.
pub(super) fn source(stream: &TcpStream, seconds: f64) -> io::Result<()> {
    let (bytes, elapsed) = send(stream, seconds)?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 bytes")]
    let gbps = bytes as f64 * 8.0 / elapsed / 1e9;
    println!("{}", serde_json::json!({ "gbps": gbps, "bytes": bytes }));
    Ok(())
}

/// Sends for so long; returns how many bytes in how many seconds, all of them confirmed.
pub(super) fn send(mut stream: &TcpStream, seconds: f64) -> io::Result<(u64, f64)> {
    let data: Vec<u8> = (0..=u8::MAX).cycle().take(CALL_BYTES).collect();
    let watch = Stopwatch::start();
    let mut sent = 0;
    while watch.elapsed().as_secs_f64() < seconds {
        stream.write_all(&data)?;
        sent += data.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut confirmed = [0; 8];
    stream.read_exact(&mut confirmed)?;
    let elapsed = watch.elapsed().as_secs_f64();
    if u64::from_le_bytes(confirmed) != sent {
        let got = u64::from_le_bytes(confirmed);
        return Err(io::Error::other(format!(
            "sent {sent} bytes, but {got} arrived"
        )));
    }
    Ok((sent, elapsed))
}
