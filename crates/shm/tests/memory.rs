//! Regions, what is carved out of them, and bytes that others may write.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rustix::fs::{MemfdFlags, SealFlags};
use sidestep_shm::{CACHE_LINE, Carver, Foreign, ForeignMut, Layout, Locked, Owner, Region, Span};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

const PAGE: usize = 4096;
const ME: Owner = Owner { slot: 0, pid: 1 };

fn bytes_of(region: &Region, offset: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; len];
    let copied = region.foreign(offset, len).unwrap().copy_to(&mut bytes);
    assert_eq!(copied, len);
    bytes
}

fn descriptor(region: &Region) -> OwnedFd {
    region.fd().unwrap().try_clone_to_owned().unwrap()
}

fn memfd(seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let fd = fd.unwrap();
    rustix::fs::ftruncate(&fd, PAGE as u64).unwrap();
    if !seals.is_empty() {
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    }
    fd
}

#[test]
fn foreign_bytes_are_narrowed_but_never_widened() {
    let bytes: Vec<u8> = (0..10).collect();
    let all = Foreign::from(&bytes[..]);
    assert_eq!(all.skip(4).first(3).len(), 3);
    assert_eq!(all.skip(8).first(5).len(), 2);
    assert_eq!(all.first(11).len(), 10);
    assert!(all.skip(10).is_empty() && all.skip(usize::MAX).is_empty());
    assert!(Foreign::EMPTY.is_empty());

    let mut out = [0xff; 4];
    assert_eq!(all.skip(4).first(3).copy_to(&mut out), 3);
    assert_eq!(out, [4, 5, 6, 0xff]);
    assert_eq!(all.skip(7).copy_to(&mut out), 3);
    assert_eq!(all.copy_to(&mut out), 4);
    assert_eq!(out, [0, 1, 2, 3]);
}

#[test]
fn fold_sees_every_byte_once_in_even_blocks() {
    let bytes: Vec<u8> = (0..2001u32).map(|i| i.to_le_bytes()[0]).collect();
    let mut blocks = Vec::new();
    let seen = Foreign::from(&bytes[..]).fold(Vec::new(), |mut seen: Vec<u8>, block| {
        blocks.push(block.len());
        seen.extend_from_slice(block);
        seen
    });
    assert_eq!(seen, bytes);
    let (_, but_last) = blocks.split_last().unwrap();
    assert!(!but_last.is_empty() && but_last.iter().all(|n| n % 2 == 0));
}

#[test]
fn writes_stay_inside_of_what_was_lent() {
    let mut memory = [0u8; 8];
    let mut all = ForeignMut::from(&mut memory[..]);
    assert_eq!(all.skip(2).first(3).copy_from(&[1, 2, 3, 4, 5]), 3);
    assert_eq!(all.skip(7).copy_from(&[9, 9]), 1);
    assert_eq!(all.skip(9).copy_from(&[7]), 0);
    assert_eq!(all.first(1).copy_from_foreign((&[6u8][..]).into()), 1);
    assert_eq!(all.as_foreign().len(), all.len());
    assert!(!all.is_empty() && all.skip(8).is_empty());
    assert_eq!(memory, [6, 0, 1, 2, 3, 0, 0, 9]);
}

#[test]
fn parts_of_a_region_lie_inside_of_it() {
    for region in [
        Region::create("test", PAGE).unwrap(),
        Region::private(PAGE).unwrap(),
    ] {
        assert_eq!(region.bytes(), PAGE);
        assert!(region.foreign(0, PAGE).is_some() && region.foreign(PAGE, 0).is_some());
        for (offset, len) in [(0, PAGE + 1), (PAGE, 1), (1, PAGE), (usize::MAX, 2)] {
            assert!(region.foreign(offset, len).is_none(), "{offset} {len}");
            assert!(region.foreign_mut(offset, len).is_none(), "{offset} {len}");
            assert!(region.at(offset, len).is_none(), "{offset} {len}");
        }
    }
}

#[test]
fn a_second_mapping_sees_what_the_first_one_writes() {
    let first = Region::create("test", PAGE).unwrap();
    let second = Region::attach(descriptor(&first)).unwrap();
    let reader = Region::attach_read_only(descriptor(&first)).unwrap();
    assert_eq!((second.bytes(), reader.bytes()), (PAGE, PAGE));
    assert_ne!(first.base(), second.base());
    assert_eq!(bytes_of(&second, 0, 4), [0; 4]);

    first.foreign_mut(100, 3).unwrap().copy_from(b"abc");
    assert_eq!(bytes_of(&second, 100, 3), b"abc");
    second.foreign_mut(101, 1).unwrap().copy_from(b"x");
    assert_eq!(bytes_of(&first, 100, 3), b"axc");
    assert_eq!(bytes_of(&reader, 100, 3), b"axc");
}

#[test]
fn private_memory_has_no_descriptor() {
    let region = Region::private(PAGE).unwrap();
    assert!(region.fd().is_none());
    assert_eq!(bytes_of(&region, 0, PAGE), vec![0; PAGE]);
}

#[test]
fn shared_memory_cannot_change_its_length() {
    let region = Region::create("test", 2 * PAGE).unwrap();
    let fd = descriptor(&region);
    for bytes in [0, PAGE, 3 * PAGE] {
        let resized = rustix::fs::ftruncate(&fd, bytes as u64);
        assert_eq!(resized, Err(rustix::io::Errno::PERM), "{bytes}");
    }
    let more = rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE);
    assert_eq!(more, Err(rustix::io::Errno::PERM));
}

#[test]
fn memory_that_could_shrink_is_refused() {
    for seals in [SealFlags::empty(), SealFlags::GROW] {
        for attach in [Region::attach, Region::attach_read_only] {
            let refused = attach(memfd(seals)).err().unwrap();
            assert_eq!(refused.kind(), ErrorKind::InvalidData);
        }
    }
    assert!(Region::attach(memfd(SealFlags::SHRINK)).is_ok());
    assert_eq!(
        Region::attach_unsealed(memfd(SealFlags::empty()))
            .unwrap()
            .bytes(),
        PAGE
    );
    // What is no memfd has no seals at all.
    let (end, _other) = rustix::pipe::pipe().unwrap();
    assert!(Region::attach(end).is_err());
}

#[test]
fn tables_lie_apart_each_on_its_own_cache_line() {
    let mut layout = Layout::after(3);
    let bytes: Span<u8> = layout.table(5);
    let none: Span<u64> = layout.table(0);
    let words: Span<u64> = layout.table(9);
    let pages: Span<[u8; PAGE]> = layout.table(1);
    let spans = [
        (bytes.offset(), bytes.count()),
        (none.offset(), none.count() * 8),
        (words.offset(), words.count() * 8),
        (pages.offset(), pages.count() * PAGE),
    ];
    let mut end = 3;
    for (offset, len) in spans {
        assert_eq!(offset % CACHE_LINE, 0);
        assert!(offset >= end, "{offset} lies before {end}");
        end = offset + len;
    }
    assert!(layout.bytes() >= end && layout.bytes() < end + PAGE);
    assert_eq!(layout.bytes() % PAGE, 0);
}

/// Runs `carve` over a region of `bytes`.
fn carving<V>(
    bytes: usize,
    carve: impl FnOnce(&mut Carver<'_>) -> io::Result<V>,
) -> io::Result<Locked<V>> {
    Locked::new(Region::private(bytes).unwrap(), carve)
}

#[test]
fn carved_tables_do_not_overlap() {
    let mut layout = Locked::<()>::layout();
    let (a, b, c): (Span<u32>, Span<u8>, Span<u64>) =
        (layout.table(17), layout.table(3), layout.table(8));
    let tables = carving(layout.bytes(), |carver| {
        Ok((carver.table(a)?, carver.one(b)?, carver.table(c)?))
    })
    .unwrap();
    let mut view = tables.lock(ME).unwrap();
    view.0.fill(u32::MAX);
    *view.1 = 1;
    view.2.fill(2);
    assert_eq!((view.0.len(), view.2.len()), (17, 8));
    assert!(view.0.iter().all(|n| *n == u32::MAX));
    assert!(*view.1 == 1 && view.2.iter().all(|n| *n == 2));
    drop(view);
    // Nor do they reach into the lock.
    assert_eq!(tables.word().holder(), None);
    assert!(!tables.word().is_retired());
}

#[test]
fn a_table_is_carved_once_in_order_and_inside() {
    let mut layout = Locked::<()>::layout();
    let (first, second): (Span<u64>, Span<u64>) = (layout.table(8), layout.table(512));
    let bytes = layout.bytes();
    let outcome = |carve: &dyn Fn(&mut Carver<'_>) -> io::Result<()>, bytes: usize| {
        carving(bytes, carve)
            .map(|_| ())
            .map_err(|error| error.kind())
    };
    let both = |carver: &mut Carver<'_>| {
        carver.table(first)?;
        carver.table(second).map(|_| ())
    };
    let twice = |carver: &mut Carver<'_>| {
        carver.table(first)?;
        carver.table(first).map(|_| ())
    };
    let backwards = |carver: &mut Carver<'_>| {
        carver.table(second)?;
        carver.table(first).map(|_| ())
    };
    let refused = Err(ErrorKind::InvalidData);
    assert_eq!(outcome(&both, bytes), Ok(()));
    assert_eq!(outcome(&both, PAGE), refused);
    assert_eq!(outcome(&twice, bytes), refused);
    assert_eq!(outcome(&backwards, bytes), refused);

    // A table over the lock, one of no entries where one is wanted, and memory without room for the lock.
    let over_lock: Span<u8> = Layout::after(0).table(1);
    let over = |carver: &mut Carver<'_>| carver.table(over_lock).map(|_| ());
    assert_eq!(outcome(&over, bytes), refused);
    let empty: Span<u8> = Locked::<()>::layout().table(0);
    let one = |carver: &mut Carver<'_>| carver.one(empty).map(|_| ());
    assert_eq!(outcome(&one, bytes), refused);
    assert_eq!(outcome(&|_| Ok(()), 8), refused);
}
