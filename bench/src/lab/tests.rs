use super::*;
use serde_json::json;

#[test]
fn counters_are_summed_at_any_depth() {
    let ps = json!({
        "stacks": [
            {"wires": [{"tx_frames": 3, "rx_frames": 100}, {"tx_frames": 4}]},
            {"tx_frames": 5, "name": "tx_frames"}
        ]
    });
    assert_eq!(sum_of(&ps, "tx_frames"), 12);
    assert_eq!(sum_of(&ps, "tx_bytes"), 0);
}

#[test]
fn work_that_took_no_accelerated_path_is_invalid() {
    assert!(matches!(
        Traffic::default().at_least(0, 0),
        Err(Problem::Invalid(_))
    ));
    assert!(matches!(
        Traffic {
            frames: 9,
            bytes: 900
        }
        .at_least(10, 0),
        Err(Problem::Invalid(_))
    ));
    assert!(matches!(
        Traffic {
            frames: 10,
            bytes: 900
        }
        .at_least(10, 901),
        Err(Problem::Invalid(_))
    ));
    assert_eq!(
        Traffic {
            frames: 10,
            bytes: 900
        }
        .at_least(10, 900),
        Ok(())
    );
}

#[test]
fn a_listener_is_told_from_other_sockets() {
    let table = "  sl  local_address rem_address   st\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
        1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000\n";
    assert!(lists_listener(table, 0x1f90));
    assert!(!lists_listener(table, 0x1f91));
    assert!(!lists_listener(table, 80));
}

#[test]
fn a_listener_of_this_process_is_seen() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let on = Listening::Tcp(listener.local_addr().unwrap().port());
    assert!(on.taken());
    drop(listener);
    assert!(!on.taken());
}
