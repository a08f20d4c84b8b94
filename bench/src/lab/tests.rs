use super::*;
use std::net::{Ipv4Addr, TcpListener};

#[test]
fn a_listener_is_told_from_other_sockets() {
    let table = "  sl  local_address rem_address   st\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
        1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000\n";
    assert_eq!(listeners(table, 0x1f90), 1);
    assert_eq!(listeners(table, 0x1f91), 0);
    assert_eq!(listeners(table, 80), 0);
}

#[test]
fn a_listener_of_this_process_is_seen() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let on = Listening::Tcp(listener.local_addr().unwrap().port());
    assert!(on.taken());
    assert!(!Listening::SharedTcp(listener.local_addr().unwrap().port(), 2).taken());
    drop(listener);
    assert!(!on.taken());
}
