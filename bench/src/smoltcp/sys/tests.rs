use super::*;

#[test]
fn a_full_ring_has_no_room_until_one_is_taken() {
    let (mut a, mut b) = pair();
    assert!(!b.rx.pending());
    for n in 0..SLOTS {
        assert!(a.tx.room());
        a.tx.put(4, |data| data.copy_from_slice(&n.to_le_bytes()));
    }
    assert!(!a.tx.room());
    b.rx.take(|data| assert_eq!(data, 0_u32.to_le_bytes()));
    assert!(a.tx.room());
}

#[test]
fn packets_of_all_lengths_arrive_in_order_across_threads() {
    const PACKETS: usize = 20_000;
    let (mut a, mut b) = pair();
    let sender = std::thread::spawn(move || {
        for n in 0..PACKETS {
            while !a.tx.room() {
                std::hint::spin_loop();
            }
            a.tx.put(n % SLOT_BYTES, |data| {
                data.fill(u8::try_from(n % 251).unwrap())
            });
        }
    });
    for n in 0..PACKETS {
        while !b.rx.pending() {
            std::hint::spin_loop();
        }
        b.rx.take(|data| {
            assert_eq!(data.len(), n % SLOT_BYTES);
            assert!(data.iter().all(|&x| usize::from(x) == n % 251));
        });
    }
    sender.join().unwrap();
}
