//! Both state machines against each other and against messages out of turn.

use super::*;
use crate::memif::Role;

fn some_fd() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap()
}

/// Runs the handshake until the master attaches; `bend` may change what the slave says.
fn run(
    options: &Options,
    to: &Options,
    bend: impl Fn(Message) -> Message,
) -> Result<(Offer, Slave, Master), Refusal> {
    let (mut master, mut to_slave) = Master::new(to);
    let mut slave = Slave::new(options)?;
    for _ in 0..10 {
        let SlaveStep::Send(message, carry) = slave.on_message(&to_slave)? else {
            break;
        };
        let fd = (carry != Carry::Nothing).then(some_fd);
        match master.on_message(&bend(message), fd)? {
            MasterStep::Send(answer) => to_slave = answer,
            MasterStep::Attach(offer) => {
                assert_eq!(
                    slave.on_message(&master.connected()),
                    Ok(SlaveStep::Connected)
                );
                return Ok((offer, slave, master));
            }
        }
    }
    panic!("no end in sight");
}

#[test]
fn a_slave_and_a_master_agree() {
    let options = Options {
        secret: "both know".into(),
        id: 3,
        ..Options::default()
    };
    let (offer, slave, _) = run(&options, &options, |m| m).unwrap();
    assert_eq!(offer.regions.len(), 1);
    assert_eq!(offer.regions[0].1, slave.geometry().bytes() as u64);
    assert_eq!(offer.s2m.place, slave.geometry().ring(Role::Slave.sends()));
    assert_eq!(offer.m2s.place, slave.geometry().ring(Role::Master.sends()));
    assert_eq!(offer.peer, "sidestep");
}

#[test]
fn the_smaller_ring_wins() {
    let to = Options {
        log2_slots: 6,
        ..Options::default()
    };
    let (offer, ..) = run(&Options::default(), &to, |m| m).unwrap();
    assert_eq!(offer.s2m.place.log2_slots, 6);
}

#[test]
fn each_disagreement_is_refused_by_name() {
    let plain = Options::default();
    let other = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        run(&options, &plain, |m| m).err()
    };
    assert_eq!(other(|o| o.id = 1), Some(Refusal::Id(1)));
    assert_eq!(other(|o| o.log2_slots = 1), Some(Refusal::Layout));
    let secret = Options {
        secret: "x".into(),
        ..Options::default()
    };
    assert_eq!(run(&plain, &secret, |m| m).err(), Some(Refusal::Secret));

    let bent = |change: fn(&mut Message)| {
        run(&plain, &plain, |mut m| {
            change(&mut m);
            m
        })
        .err()
    };
    let version = |m: &mut Message| {
        if let Message::Init { version, .. } = m {
            *version = 0x0300;
        }
    };
    let mode = |m: &mut Message| {
        if let Message::Init { mode, .. } = m {
            *mode = 1;
        }
    };
    let region = |m: &mut Message| {
        if let Message::AddRegion { index, .. } = m {
            *index = 5;
        }
    };
    let size = |m: &mut Message| {
        if let Message::AddRing { log2_slots, .. } = m {
            *log2_slots = 15;
        }
    };
    let twice = |m: &mut Message| {
        if let Message::AddRing { s2m, .. } = m {
            *s2m = true;
        }
    };
    assert_eq!(bent(version), Some(Refusal::Version));
    assert_eq!(bent(mode), Some(Refusal::Mode));
    assert_eq!(bent(region), Some(Refusal::Region(5)));
    assert_eq!(bent(size), Some(Refusal::Ring(0)));
    assert_eq!(bent(twice), Some(Refusal::Ring(0)));
    let early = |m: &mut Message| {
        if let Message::AddRing { .. } = m {
            *m = Message::Connect { name: [0; 32] };
        }
    };
    assert_eq!(bent(early), Some(Refusal::Incomplete));
}

#[test]
fn a_missing_descriptor_is_refused() {
    let (mut master, _) = Master::new(&Options::default());
    let mut slave = Slave::new(&Options::default()).unwrap();
    let init = slave.init();
    assert!(matches!(
        master.on_message(&init, None),
        Ok(MasterStep::Send(Message::Ack))
    ));
    let region = Message::AddRegion {
        index: 0,
        bytes: 4096,
    };
    assert_eq!(
        master.on_message(&region, None).err(),
        Some(Refusal::Descriptor)
    );
    let ring = slave.add_ring(Direction::SlaveToMaster);
    assert_eq!(
        master.on_message(&ring, None).err(),
        Some(Refusal::Descriptor)
    );
    assert_eq!(
        slave.on_message(&Message::Ack).err(),
        Some(Refusal::Unexpected)
    );
}

#[test]
fn no_message_out_of_turn_is_accepted() {
    let (mut master, hello) = Master::new(&Options::default());
    for message in [
        &hello,
        &Message::Ack,
        &Message::AddRegion { index: 0, bytes: 1 },
        &master.connected(),
    ] {
        assert_eq!(
            master.on_message(message, Some(some_fd())).err(),
            Some(Refusal::Unexpected)
        );
    }
    let goodbye = Message::disconnect("had enough");
    assert_eq!(
        master.on_message(&goodbye, None).err(),
        Some(Refusal::Disconnected("had enough".into()))
    );
    let mut slave = Slave::new(&Options::default()).unwrap();
    assert_eq!(
        slave.on_message(&goodbye).err(),
        Some(Refusal::Disconnected("had enough".into()))
    );
    let (_, mut slave, _) = run(&Options::default(), &Options::default(), |m| m).unwrap();
    assert_eq!(
        slave.on_message(&hello).err(),
        Some(Refusal::Unexpected),
        "no second handshake"
    );
}
