//! What is told of changes.

use crate::address::Address;
use crate::neighbour::Neighbour;
use sidestep_wire::Mac;
use std::collections::HashSet;

/// Something that is not as it was. What it is now, the picture says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A link is new, or something about it changed.
    LinkChanged(u32),
    /// A link was deleted, or moved to another network namespace.
    LinkGone {
        /// Its index, which another may have from now on.
        index: u32,
        /// Its last name.
        name: String,
    },
    /// A link has a further address.
    AddressAdded(Address),
    /// An address became deprecated or tentative, or ceased to be.
    AddressChanged(Address),
    /// A link lost an address.
    AddressRemoved(Address),
    /// The kernel learned something of a neighbour, or that it does not answer. Told for every notification.
    NeighbourChanged(Neighbour),
    /// The kernel forgot a neighbour; this is what it had last known.
    NeighbourGone(Neighbour),
    /// A station is behind another port of a bridge, or behind none that the bridge knows.
    StationMoved {
        /// The bridge's index.
        bridge: u32,
        /// The station.
        mac: Mac,
    },
    /// Routes may be others: look up again those that are in use. Comes with every change of links and addresses
    /// that routes depend on, too.
    RoutesChanged,
}

/// Changes in the order in which they came, without repetitions of what says nothing new.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    list: Vec<Change>,
    told: HashSet<Change>,
}

impl Changes {
    pub(crate) fn push(&mut self, change: Change) {
        if let Change::LinkGone { index, .. } = &change {
            self.told.remove(&Change::LinkChanged(*index));
        }
        let says_only_that = matches!(
            change,
            Change::LinkChanged(_) | Change::StationMoved { .. } | Change::RoutesChanged
        );
        if says_only_that && !self.told.insert(change.clone()) {
            return;
        }
        self.list.push(change);
    }

    pub(crate) fn into_list(self) -> Vec<Change> {
        self.list
    }
}
