//! The ping-pong over the kernel's loopback, in threads of this process, and its small parsers.

use super::*;
use clap::Parser as _;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    pingpong: Pingpong,
}

fn load(words: &[&str]) -> Load {
    let words = [
        "x",
        "--local",
        "--json",
        "--duration",
        "50ms",
        "--iter",
        "50",
        "--warmup",
        "5",
    ]
    .iter()
    .chain(words);
    Line::parse_from(words).pingpong.load
}

/// One session against a server thread; the server's outcome and the client's.
fn play(listen: &str, words: &[&str]) -> (anyhow::Result<()>, anyhow::Result<()>) {
    // The port is free a moment ago; a server thread cannot tell us which one it took.
    let probe = std::net::TcpListener::bind(listen).unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let args = Server {
        listen: address,
        once: true,
        affinity: None,
        with_parent: false,
    };
    let server = std::thread::spawn(move || server::serve(&args));
    let load = load(words);
    let mut outcome = client::run(address, &load);
    for _ in 0..200 {
        let Err(error) = &outcome else { break };
        if !format!("{error:#}").contains("cannot connect") {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        outcome = client::run(address, &load);
    }
    (server.join().unwrap(), outcome)
}

#[track_caller]
fn works(listen: &str, words: &[&str]) {
    let (server, client) = play(listen, words);
    client.unwrap();
    server.unwrap();
}

#[test]
fn every_mode_carries_tcp() {
    for mode in ["blocking", "poll", "epoll", "select", "spin"] {
        works("127.0.0.1:0", &["--mode", mode, "--sizes", "1,32,100000"]);
    }
}

#[test]
fn every_mode_carries_udp() {
    for mode in ["blocking", "poll", "epoll", "select", "spin"] {
        works(
            "127.0.0.1:0",
            &["--udp", "--mode", mode, "--sizes", "1,1400,9000"],
        );
        works(
            "127.0.0.1:0",
            &["--udp", "--connect", "--mode", mode, "--sizes", "32"],
        );
    }
}

#[test]
fn ipv6_and_spinning_readiness() {
    works("[::1]:0", &["--mode", "epoll", "--spin", "--sizes", "32"]);
    works(
        "[::1]:0",
        &["--udp", "--mode", "poll", "--spin", "--sizes", "32"],
    );
}

#[test]
fn server_names_why_it_refuses() {
    let (server, client) = play("127.0.0.1:0", &["--affinity", ";1023", "--sizes", "1"]);
    let client = format!("{:#}", client.unwrap_err());
    assert!(
        client.contains("the server refused: cannot run on CPU 1023"),
        "{client}"
    );
    assert!(server.is_err());
}

#[test]
fn server_survives_a_client_that_talks_nonsense() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = probe.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let (stream, _) = probe.accept().unwrap();
        session::hear::<session::Session>(&stream).map(|_| ())
    });
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, &[b'x'; 5000]).unwrap();
    let error = format!("{:#}", reader.join().unwrap().unwrap_err());
    assert!(error.contains("not a sidestep pingpong"), "{error}");
}

#[test]
fn durations_read() {
    assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
    assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
    assert!(duration("2h").is_err());
    assert!(duration("ms").is_err());
    assert!(duration("-1s").is_err());
}

#[test]
fn affinities_read() {
    assert_eq!(
        affinity("0;1"),
        Ok(Affinity {
            client: Some(0),
            server: Some(1)
        })
    );
    assert_eq!(
        affinity("3,2"),
        Ok(Affinity {
            client: Some(3),
            server: Some(2)
        })
    );
    assert_eq!(
        affinity(";1"),
        Ok(Affinity {
            client: None,
            server: Some(1)
        })
    );
    assert_eq!(affinity(";"), Ok(Affinity::default()));
    assert!(affinity("a;b").is_err());
}

#[test]
fn sizes_are_bounded() {
    assert!(session::check_size(0, false).is_err());
    assert!(session::check_size(65_507, true).is_ok());
    assert!(session::check_size(65_508, true).is_err());
    assert!(session::check_size(65_508, false).is_ok());
}

#[test]
fn rows_are_halves_of_round_trips() {
    let mut histogram = report::Histogram::new();
    for ns in [200, 400, 600] {
        histogram.record(ns);
    }
    let row = serde_json::to_value(report::Row::new(32, &histogram, 0, 99.0)).unwrap();
    assert_eq!(row["mean_ns"], 200.0);
    assert_eq!(row["min_ns"], 100);
    assert_eq!(row["p50_ns"], 200);
    assert_eq!(row["max_ns"], 300);
    assert_eq!(row["iterations"], 3);
}
