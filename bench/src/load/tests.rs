use super::*;
use std::net::TcpStream;

#[test]
fn a_stream_is_confirmed_by_its_length() {
    let listener = listen(HERE, 0).unwrap();
    let server = listener.local_addr().unwrap();
    let receiver = std::thread::spawn(move || stream::receive(&listener.accept().unwrap().0));
    let (bytes, seconds) = stream::send(&TcpStream::connect(server).unwrap(), 0.01).unwrap();
    receiver.join().unwrap().unwrap();
    assert!(bytes > 0 && seconds >= 0.01);
}

#[test]
fn a_receiver_that_loses_bytes_is_found_out() {
    use std::io::{Read as _, Write as _};
    let listener = listen(HERE, 0).unwrap();
    let server = listener.local_addr().unwrap();
    let liar = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream
            .write_all(&(all.len() as u64 - 1).to_le_bytes())
            .unwrap();
    });
    let error = stream::send(&TcpStream::connect(server).unwrap(), 0.01).unwrap_err();
    liar.join().unwrap();
    assert!(error.to_string().contains("arrived"), "{error}");
}

#[test]
fn calls_are_timed_against_an_echo() {
    let listener = listen(HERE, 0).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || calls::echo(&listener));
    calls::time(&connect(HERE, port).unwrap(), 1, 5, 1_000).unwrap();
}
