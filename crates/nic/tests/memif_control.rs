//! Links over a socket: our master and our slave, and peers that misbehave.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sidestep_nic::Port;
use sidestep_nic::memif::control::{
    Link, Message, Options, VERSION, connect, connect_over, listen, serve_over,
};
use sidestep_nic::memif::{Geometry, Memif, Role, wire};
use sidestep_shm::Foreign;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

fn pair() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

fn link(options: &Options) -> [Link; 2] {
    let (master, slave) = pair();
    std::thread::scope(|scope| {
        let master = scope.spawn(|| serve_over(master, options, PATIENCE).unwrap());
        let slave = connect_over(slave, options, PATIENCE).unwrap();
        [master.join().unwrap(), slave]
    })
}

fn send(link: &mut Link, frame: &[u8]) -> bool {
    let mut port = Memif::new(&mut link.state, &link.at);
    let sent = port.tx(frame.len(), |mut room| {
        assert_eq!(room.copy_from(frame), frame.len())
    });
    port.tx_flush();
    sent
}

fn receive(link: &mut Link) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    Memif::new(&mut link.state, &link.at).rx_batch(64, |frame: Foreign<'_>| {
        let mut bytes = vec![0; frame.len()];
        frame.copy_to(&mut bytes);
        frames.push(bytes);
    });
    frames
}

#[test]
fn frames_cross_both_ways_chained_where_they_must() {
    let mut ends = link(&Options {
        log2_slots: 5,
        ..Options::default()
    });
    for from in [0, 1] {
        for bytes in [0, 1, 60, 1514, 2048, 2049, 9014, 40_000] {
            let frame: Vec<u8> = (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect();
            // Many laps of both rings, so that every posted buffer has been through a chain.
            for _ in 0..40 {
                assert!(send(&mut ends[from], &frame), "{bytes} bytes from {from}");
                assert_eq!(receive(&mut ends[1 - from]), [frame.as_slice()]);
            }
        }
        let longest = Memif::new(&mut ends[from].state, &ends[from].at)
            .caps()
            .frame_bytes_max;
        assert_eq!(longest, 24 * 2048);
        assert!(send(&mut ends[from], &vec![7; longest]));
        assert_eq!(receive(&mut ends[1 - from]), [vec![7; longest]]);
        assert!(!send(&mut ends[from], &vec![7; longest + 1]));
        let stats = Memif::new(&mut ends[from].state, &ends[from].at).stats();
        assert_eq!(stats.rx_malformed, 0);
    }
}

#[test]
fn each_end_is_woken_through_what_it_was_given() {
    let mut ends = link(&Options::default());
    for from in [0, 1] {
        assert!(send(&mut ends[from], b"wake up"));
        assert!(ends[1 - from].rx_event.drain());
        Memif::new(&mut ends[1 - from].state, &ends[1 - from].at).rx_wakeups(false);
        assert!(send(&mut ends[from], b"no need"));
        assert!(!ends[1 - from].rx_event.drain());
        assert_eq!(receive(&mut ends[1 - from]).len(), 2);
    }
}

#[test]
fn the_end_of_a_link_is_seen_with_its_reason() {
    let [master, slave] = link(&Options::default());
    assert!(master.channel.check().is_ok() && slave.channel.check().is_ok());
    slave.channel.disconnect("going home");
    let error = master.channel.check().unwrap_err();
    assert_eq!(error.to_string(), "the other end disconnected: going home");
    let [master, slave] = link(&Options::default());
    drop(master);
    assert_eq!(
        slave.channel.check().unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
}

#[test]
fn a_listener_serves_one_slave_after_another() {
    let directory = std::env::temp_dir().join(format!("sidestep-memif-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let options = Options::default();
    let listener = listen(&path, &options).unwrap();
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let master = scope.spawn(|| listener.accept(PATIENCE).unwrap());
            let mut slave = connect(&path, &options, PATIENCE).unwrap();
            let mut master = master.join().unwrap();
            assert!(send(&mut slave, b"over a path"));
            assert_eq!(receive(&mut master), [b"over a path"]);
        });
    }
    let wrong = Options {
        id: 9,
        ..Options::default()
    };
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| listener.accept(PATIENCE).err().unwrap());
        let error = connect(&path, &wrong, PATIENCE).err().unwrap();
        assert!(error.to_string().contains("no interface 9 here"), "{error}");
        assert!(
            refused
                .join()
                .unwrap()
                .to_string()
                .contains("no interface 9 here")
        );
    });
    drop(listener);
    assert!(!path.exists());
    std::fs::remove_dir(&directory).unwrap();
}

/// What a master makes of these messages, each with a descriptor where one is given.
fn master_hears(messages: &[(Vec<u8>, Option<&dyn AsFd>)]) -> ErrorKind {
    let (master, peer) = pair();
    for (bytes, fd) in messages {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        if !fds.is_empty() {
            assert!(ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
        }
        let flags = rustix::net::SendFlags::empty();
        rustix::net::sendmsg(
            &peer,
            &[std::io::IoSlice::new(bytes)],
            &mut ancillary,
            flags,
        )
        .unwrap();
    }
    rustix::net::shutdown(&peer, rustix::net::Shutdown::Write).unwrap();
    serve_over(master, &Options::default(), PATIENCE)
        .err()
        .unwrap()
        .kind()
}

fn init() -> Vec<u8> {
    Message::Init {
        version: VERSION,
        id: 0,
        mode: 0,
        secret: [0; 24],
        name: [0; 32],
    }
    .emit()
    .to_vec()
}

fn ring(s2m: bool, region: u16, offset: u32) -> Vec<u8> {
    let message = Message::AddRing {
        s2m,
        index: 0,
        region,
        offset,
        log2_slots: 4,
        private_header_bytes: 0,
    };
    message.emit().to_vec()
}

fn region(bytes: u64) -> Vec<u8> {
    Message::AddRegion { index: 0, bytes }.emit().to_vec()
}

fn connect_message() -> Vec<u8> {
    Message::Connect { name: [0; 32] }.emit().to_vec()
}

#[test]
fn a_master_survives_garbage_before_the_link_is_described() {
    use ErrorKind::{ConnectionAborted, InvalidData, UnexpectedEof};
    assert_eq!(master_hears(&[]), UnexpectedEof);
    assert_eq!(master_hears(&[(vec![1; 64], None)]), InvalidData);
    assert_eq!(master_hears(&[(vec![0; 300], None)]), InvalidData);
    assert_eq!(master_hears(&[(vec![0; 128], None)]), InvalidData);
    assert_eq!(
        master_hears(&[(connect_message(), None)]),
        ConnectionAborted
    );
    assert_eq!(
        master_hears(&[(init(), None), (init(), None)]),
        ConnectionAborted
    );
    assert_eq!(
        master_hears(&[(init(), None), (region(4096), None)]),
        ConnectionAborted,
        "no fd"
    );
}

#[test]
fn a_master_survives_a_description_that_does_not_fit() {
    use ErrorKind::{ConnectionAborted, InvalidData};
    let geometry = Geometry::slave(4, 2048).unwrap();
    let memory = wire::create(&geometry).unwrap();
    let memfd = memory.fd().unwrap();
    let event = sidestep_shm::EventFd::new().unwrap();
    let whole = region(geometry.bytes() as u64);
    let s2m = ring(true, 0, geometry.ring(Role::Slave.sends()).offset);
    let m2s = ring(false, 0, geometry.ring(Role::Master.sends()).offset);
    let hears = |region: &[u8], memory: &dyn AsFd, s2m: &[u8]| {
        master_hears(&[
            (init(), None),
            (region.to_vec(), Some(memory)),
            (s2m.to_vec(), Some(&event)),
            (m2s.clone(), Some(&event)),
            (connect_message(), None),
        ])
    };
    assert_eq!(
        hears(&region(1 << 40), &memfd, &s2m),
        InvalidData,
        "shorter than claimed"
    );
    assert_eq!(
        hears(&whole, &memfd, &ring(true, 3, 0)),
        InvalidData,
        "no such region"
    );
    assert_eq!(
        hears(&whole, &memfd, &ring(true, 0, u32::MAX)),
        InvalidData,
        "out of bounds"
    );
    assert_eq!(
        hears(&whole, &memfd, &ring(true, 0, 8)),
        InvalidData,
        "not aligned"
    );
    assert_eq!(
        hears(&whole, &memfd, &ring(true, 0, 8192)),
        InvalidData,
        "no cookie"
    );
    let unsealed =
        rustix::fs::memfd_create("unsealed", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&unsealed, geometry.bytes() as u64).unwrap();
    assert_eq!(
        hears(&whole, &unsealed, &s2m),
        InvalidData,
        "could shrink under us"
    );
    assert_ne!(
        hears(&whole, &event, &s2m),
        ConnectionAborted,
        "not even memory"
    );
}

#[test]
fn a_master_that_breaks_a_posted_buffer_is_counted() {
    let [mut master, mut slave] = link(&Options {
        log2_slots: 4,
        ..Options::default()
    });
    let offset = slave.state.geometry().ring(Role::Master.sends()).offset as usize + 128;
    let home = &slave.at.regions()[0];
    // The first buffer posted to the master reaches beyond the region.
    home.foreign_mut(offset + 8, 4)
        .unwrap()
        .copy_from(&u32::MAX.to_ne_bytes());
    assert!(send(&mut master, b"goes to the next buffer"));
    assert!(
        Memif::new(&mut master.state, &master.at)
            .stats()
            .rx_malformed
            > 0
    );
    assert_eq!(receive(&mut slave), [b"goes to the next buffer"]);
    // The slave posts it whole again.
    for _ in 0..40 {
        assert!(send(&mut master, b"once more"));
        assert_eq!(receive(&mut slave), [b"once more"]);
    }
}
