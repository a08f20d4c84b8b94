use crate::socket::Kind;
use crate::{Address, Config, Endpoint, SharedStack, create_private};
use proptest::prelude::*;
use sidestep_shm::Owner;
use sidestep_wire::plain::V4Ends;
use std::collections::HashMap;

fn stack(sockets_max: usize) -> SharedStack {
    let config = Config {
        sockets_max,
        chunks_max: 8,
        secret: 7,
        ..Config::default()
    };
    create_private(&config).unwrap()
}

fn ends(flow: u16) -> (Endpoint, Endpoint) {
    let local = Endpoint::new(Address::LOOPBACK_V4, 80);
    (local, Endpoint::new(Address::from_v4([10, 0, 0, 1]), flow))
}

proptest! {
    /// Whatever comes and goes, what is in the table is found, and nothing else.
    #[test]
    fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 0_u16..48), 0..400)) {
        let stack = stack(32);
        let mut guard = stack.lock(Owner { slot: 0, pid: 1 }).unwrap();
        let core = &mut guard.core;
        let mut model: HashMap<u16, u32> = HashMap::new();
        for (add, flow) in steps {
            let (local, remote) = ends(flow);
            if add {
                let Ok(index) = core.alloc_socket(Kind::Stream) else { continue };
                (core.at(index).local, core.at(index).remote) = (local, remote);
                let inserted = core.insert_flow(index).is_ok();
                prop_assert_eq!(inserted, !model.contains_key(&flow));
                if inserted {
                    model.insert(flow, index);
                } else {
                    core.free_socket(index);
                }
            } else if let Some(index) = model.remove(&flow) {
                core.free_socket(index);
            }
            for flow in 0..48 {
                let (local, remote) = ends(flow);
                prop_assert_eq!(core.find_flow(&local, &remote), model.get(&flow).copied());
                prop_assert_eq!(core.find_recent_flow(&local, &remote), model.get(&flow).copied());
                let ends = V4Ends::of(&local, &remote).unwrap();
                prop_assert_eq!(core.find_v4(&ends), model.get(&flow).copied());
            }
            let used = core.flows.iter().filter(|w| **w != 0).count();
            prop_assert_eq!(used, model.len());
        }
    }
}
