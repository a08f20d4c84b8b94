use super::*;
use sidestep_stack::{Config, Endpoint, create_private};

/// A stack with a wire and a connection for each of these, which have so many bytes to send.
fn report(queues: &[usize]) -> StackReport {
    use sidestep_nic::memif::{Geometry, Role};
    let config = Config {
        sockets_max: 16,
        chunks_max: 16,
        ..Config::default()
    };
    let stack = create_private(&config).unwrap();
    let owner = sidestep_shm::Owner {
        slot: 0,
        pid: std::process::id(),
    };
    let mut stack = stack.lock(owner).unwrap();
    let mut report = stack.report();
    let (role, geometry) = (Role::Slave, Geometry::default());
    report.wires.push(sidestep_stack::WireReport {
        index: 0,
        id: 1,
        kind: sidestep_stack::WireKind::Memif {
            peer_stack: 2,
            role,
            geometry,
        },
        stats: sidestep_nic::PortStats::default(),
    });
    let socket = |snd_queue: &usize| SocketReport {
        kind: Kind::Stream,
        state: "FIN-WAIT-1",
        local: Endpoint::default(),
        remote: Endpoint::default(),
        wire: Some(0),
        vlan: 0,
        device: 0,
        holders: Vec::new(),
        rcv_queue: 0,
        snd_queue: *snd_queue,
        cookie: 0,
    };
    report.sockets = queues.iter().map(socket).collect();
    report
}

const fn minutes(n: u64) -> Nanos {
    Nanos::from_secs(60 * n)
}

#[test]
fn what_gets_on_goes_on() {
    // 8 MB at half a megabit a second.
    let mut orphan = Orphan::new(minutes(1));
    for minute in 1..=130 {
        let left = 8_000_000 - 60_000 * usize::try_from(minute).unwrap();
        assert_eq!(orphan.look(&report(&[left]), minutes(minute)), Fate::GoesOn);
    }
    assert_eq!(orphan.look(&report(&[]), minutes(131)), Fate::HasSaidAll);
    assert_eq!(orphan.look(&report(&[]), minutes(133)), Fate::IsOver);
}

#[test]
fn what_does_not_get_on_is_over_in_time() {
    let mut orphan = Orphan::new(minutes(1));
    assert_eq!(orphan.look(&report(&[500, 9]), minutes(2)), Fate::GoesOn);
    // One fewer is progress; more bytes are none, and neither is the way back.
    assert_eq!(orphan.look(&report(&[500]), minutes(5)), Fate::GoesOn);
    assert_eq!(orphan.look(&report(&[700]), minutes(8)), Fate::GoesOn);
    assert_eq!(orphan.look(&report(&[500]), minutes(11)), Fate::GoesOn);
    assert_eq!(orphan.look(&report(&[500]), minutes(12)), Fate::IsOver);
}

#[test]
fn without_wires_nothing_is_left_to_say() {
    let mut orphan = Orphan::new(minutes(1));
    let mut report = report(&[500]);
    report.wires.clear();
    assert_eq!(orphan.look(&report, minutes(1)), Fate::HasSaidAll);
    // But a child may be on its way.
    report.processes.push((3, 0));
    let mut orphan = Orphan::new(minutes(1));
    let soon = minutes(1) + Nanos::from_secs(1);
    assert_eq!(orphan.look(&report, soon), Fate::GoesOn);
    assert_eq!(
        orphan.look(&report, minutes(1) + Nanos::from_secs(3)),
        Fate::HasSaidAll
    );
}
