//! Lookups as the kernel would resolve them, changes under readers' eyes, and a writer that dies.

use super::table::{HEADER_WORDS, header};
use super::*;
use crate::message::Publication;
use sidestep_shm::atomic::{AtomicBool, Ordering};
use sidestep_wire::{Address, Endpoint};

const TCP: u8 = 6;
const NETNS: u64 = 4_026_531_840;

fn pair() -> (DirectoryWriter, Directory) {
    let writer = DirectoryWriter::create(42, 7).unwrap();
    let reader = Directory::attach(writer.descriptor().unwrap()).unwrap();
    (writer, reader)
}

fn endpoint(text: &str) -> Endpoint {
    let address: std::net::SocketAddr = text.parse().unwrap();
    Endpoint::new(address.ip().into(), address.port())
}

fn plain(text: &str) -> Publication {
    Publication::new(TCP, endpoint(text), false, false)
}

fn found(reader: &Directory, text: &str) -> Vec<u64> {
    let mut stacks = reader
        .lookup(TCP, NETNS, endpoint(text))
        .unwrap()
        .stacks()
        .to_vec();
    stacks.sort_unstable();
    stacks
}

#[test]
fn the_exact_address_goes_before_the_wildcard() {
    let (mut writer, reader) = pair();
    writer.publish(NETNS, 1, &plain("0.0.0.0:80")).unwrap();
    writer.publish(NETNS, 2, &plain("127.0.0.2:80")).unwrap();
    assert_eq!(found(&reader, "127.0.0.2:80"), [2]);
    assert_eq!(found(&reader, "127.0.0.1:80"), [1]);
    assert_eq!(found(&reader, "127.0.0.1:81"), []);
    assert_eq!(found(&reader, "[::1]:80"), []);
    assert_eq!(
        reader
            .lookup(17, NETNS, endpoint("127.0.0.1:80"))
            .unwrap()
            .stacks(),
        []
    );
    assert_eq!(
        (reader.generation(), reader.agent_pid(), reader.entries()),
        (42, 7, 2)
    );
}

#[test]
fn ipv4_reaches_a_dual_stack_wildcard_but_not_a_v6_only_one() {
    let (mut writer, reader) = pair();
    writer.publish(NETNS, 1, &plain("[::]:80")).unwrap();
    let only = Publication::new(TCP, endpoint("[::]:81"), true, false);
    writer.publish(NETNS, 2, &only).unwrap();
    assert_eq!(found(&reader, "127.0.0.1:80"), [1]);
    assert_eq!(found(&reader, "[::1]:80"), [1]);
    assert_eq!(found(&reader, "127.0.0.1:81"), []);
    assert_eq!(found(&reader, "[::1]:81"), [2]);
}

#[test]
fn a_wildcard_serves_only_addresses_of_this_host_and_namespace() {
    let (mut writer, reader) = pair();
    writer.publish(NETNS, 1, &plain("0.0.0.0:80")).unwrap();
    assert_eq!(found(&reader, "192.0.2.1:80"), []);
    let (ours, other) = (
        Address::from_v4([192, 0, 2, 1]),
        Address::from_v4([192, 0, 2, 2]),
    );
    writer.set_addresses(NETNS, &[ours]).unwrap();
    assert_eq!(found(&reader, "192.0.2.1:80"), [1]);
    assert!(reader.is_local(NETNS, ours).unwrap());
    assert!(!reader.is_local(NETNS + 1, ours).unwrap());
    let elsewhere = reader
        .lookup(TCP, NETNS + 1, endpoint("127.0.0.1:80"))
        .unwrap();
    assert!(elsewhere.is_empty());
    writer.set_addresses(NETNS, &[other]).unwrap();
    assert_eq!(found(&reader, "192.0.2.1:80"), []);
    assert_eq!(found(&reader, "192.0.2.2:80"), [1]);
    assert_eq!(found(&reader, "224.0.0.1:80"), []);
}

#[test]
fn stacks_that_share_a_port_are_all_found_and_spread() {
    let (mut writer, reader) = pair();
    let shared = Publication::new(TCP, endpoint("0.0.0.0:80"), false, true);
    for stack in [1, 2, 3] {
        writer.publish(NETNS, stack, &shared).unwrap();
    }
    assert_eq!(found(&reader, "127.0.0.1:80"), [1, 2, 3]);
    let matches = reader.lookup(TCP, NETNS, endpoint("127.0.0.1:80")).unwrap();
    let picked: std::collections::BTreeSet<_> = (0..32).map(|h| matches.pick(h)).collect();
    assert_eq!(picked.len(), 3);
    assert_eq!(Matches::default().pick(1), None);
    let greedy = plain("0.0.0.0:80");
    assert!(matches!(
        writer.publish(NETNS, 4, &greedy),
        Err(PublishError::InUse(_))
    ));
}

#[test]
fn every_publication_needs_its_withdrawal() {
    let (mut writer, reader) = pair();
    let what = plain("0.0.0.0:80");
    writer.publish(NETNS, 1, &what).unwrap();
    writer.publish(NETNS, 1, &what).unwrap();
    assert_eq!(writer.publications(1), [what]);
    assert!(writer.withdraw(NETNS, 1, &what));
    assert_eq!(found(&reader, "127.0.0.1:80"), [1]);
    assert!(writer.withdraw(NETNS, 1, &what));
    assert_eq!(found(&reader, "127.0.0.1:80"), []);
    assert!(!writer.withdraw(NETNS, 1, &what));
    let icmp = Publication {
        protocol: 1,
        ..what
    };
    assert_eq!(writer.publish(NETNS, 1, &icmp), Err(PublishError::Protocol));
}

#[test]
fn a_full_directory_says_so_and_recovers() {
    let (mut writer, reader) = pair();
    let nth = |n: usize| {
        let [.., a, b, c] = n.to_be_bytes();
        Publication::new(
            TCP,
            Endpoint::new(Address::from_v4([127, a, b, c]), 80),
            false,
            false,
        )
    };
    let full = (0..)
        .find(|n| writer.publish(NETNS, *n as u64 % 2, &nth(*n)).is_err())
        .unwrap();
    assert_eq!(full, table::ENTRIES_MAX);
    assert_eq!(
        writer.publish(NETNS, 5, &nth(full)),
        Err(PublishError::Full)
    );
    // Half of them go; not one of the others may be lost to a gap in a probe.
    assert_eq!(writer.withdraw_stack(0), full / 2);
    for n in 0..full {
        let matches = reader.lookup(TCP, NETNS, nth(n).endpoint()).unwrap();
        assert_eq!(
            matches.stacks(),
            if n % 2 == 0 { &[][..] } else { &[1] },
            "entry {n}"
        );
    }
    assert_eq!(writer.publish(NETNS, 5, &nth(full)), Ok(()));
}

#[test]
fn readers_never_see_half_a_change() {
    let (mut writer, reader) = pair();
    let steady = plain("127.0.0.1:80");
    writer.publish(NETNS, 1, &steady).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let lookups = scope.spawn(|| {
            let mut count = 0u64;
            while !done.load(Ordering::Relaxed) {
                // A steady reader may lose the race again and again, which it reports; it never sees a wrong answer.
                if let Ok(matches) = reader.lookup(TCP, NETNS, steady.endpoint()) {
                    assert_eq!(matches.stacks(), [1]);
                    count += 1;
                }
            }
            count
        });
        for n in 0..20_000u16 {
            let what = Publication::new(TCP, Endpoint::new(Address::LOOPBACK_V4, n), false, true);
            writer.publish(NETNS, 2, &what).unwrap_or(());
            writer.withdraw(NETNS, 2, &what);
        }
        done.store(true, Ordering::Relaxed);
        lookups.join().unwrap();
    });
    assert_eq!(found(&reader, "127.0.0.1:80"), [1]);
}

#[test]
fn an_agent_that_died_while_writing_is_noticed() {
    let words = sys::Words::create("test", table::WORDS).unwrap();
    words.all()[header::MAGIC].store(table::MAGIC, Ordering::Relaxed);
    words.all()[header::SEQUENCE].store(3, Ordering::Relaxed);
    let reader = Directory::attach(words.descriptor().unwrap()).unwrap();
    assert_eq!(
        reader.lookup(TCP, NETNS, endpoint("127.0.0.1:80")),
        Err(DirectoryLost)
    );
}

#[test]
fn nobody_else_can_write_it() {
    let (writer, _) = pair();
    let fd = writer.descriptor().unwrap();
    assert!(sidestep_shm::Region::attach(fd).is_err());
    let bytes = [0xff; 8];
    assert!(rustix::io::pwrite(writer.descriptor().unwrap(), &bytes, 0).is_err());
}

#[test]
fn other_memory_is_refused() {
    let short = sidestep_shm::Region::create("test", HEADER_WORDS * 8).unwrap();
    let fd = short.fd().unwrap().try_clone_to_owned().unwrap();
    assert!(Directory::attach(fd).is_err());
    let blank = sidestep_shm::Region::create("test", table::WORDS * 8).unwrap();
    let fd = blank.fd().unwrap().try_clone_to_owned().unwrap();
    assert!(Directory::attach(fd).is_err());
}
