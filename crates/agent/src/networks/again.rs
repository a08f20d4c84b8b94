//! Interfaces that were gone and are back, under the same name, and ports that a bond gets: they are served as was said once.

use super::Networks;
use crate::lifetime::LinkSpec;
use crate::registry::{Job, Registry};
use sidestep_control::StackId;
use sidestep_netlink::LinkKind;

/// What the agent was told to serve.
pub(super) struct Wanted {
    spec: LinkSpec,
    /// Why it could not be served again, as the log has it.
    told: Option<String>,
}

impl Wanted {
    /// Nothing was tried yet.
    pub(super) fn new(spec: &LinkSpec) -> Self {
        Self {
            spec: spec.clone(),
            told: None,
        }
    }
}

impl Networks {
    /// Whether a link that is meant is there and on, and not served. What is off may still be renamed.
    fn is_missed(&self, spec: &LinkSpec) -> bool {
        let Some(link) = self.config.picture().link_named(&spec.interface) else {
            return false;
        };
        let is_bond = matches!(link.kind, LinkKind::Bond { .. });
        // One that has another name by now is served still.
        let is_known = !is_bond && self.interfaces.iter().any(|i| i.said == spec.said);
        let mut links = self.links_meant(link);
        !is_known && links.any(|link| link.up && !self.is_served(link.index))
    }

    /// Attaches to what is missed. What there is to be told of it: as text, by the place in the list.
    fn attach_missed(&mut self) -> Vec<(usize, Result<(), String>)> {
        let missed: Vec<(usize, LinkSpec)> = (0..)
            .zip(&self.wanted)
            .filter(|(_, wanted)| self.is_missed(&wanted.spec))
            .map(|(at, wanted)| (at, wanted.spec.clone()))
            .collect();
        let serve = |(at, spec)| {
            let served = self.serve(&spec);
            (at, served.map_err(|error| format!("{error:#}")))
        };
        missed.into_iter().map(serve).collect()
    }
}

impl Registry {
    /// Serves interfaces that are there again, for those programs, too, that run already.
    pub(super) fn serve_again(&mut self) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let before = networks.interfaces.len();
        for (at, served) in networks.attach_missed() {
            let wanted = &mut networks.wanted[at];
            let said = &wanted.spec.said;
            match &served {
                Ok(()) => self
                    .log
                    .line(format_args!("{said} is served: its interface is there")),
                Err(why) if wanted.told.as_ref() == Some(why) => {}
                Err(why) => self
                    .log
                    .line(format_args!("{said} is there, and is not served: {why}")),
            }
            wanted.told = served.err();
        }
        let new = before..networks.interfaces.len();
        if new.is_empty() {
            return;
        }
        self.settle_networks();
        for at in new.clone() {
            self.bring_members(at);
        }
        if let Some(networks) = self.networks.take() {
            self.say_how_served(&networks.interfaces[new]);
            self.networks = Some(networks);
        }
        self.check_new_queues();
        self.settle_groups();
        if let Some(networks) = &mut self.networks {
            // Programs ask anew what leads where.
            networks.number += 1;
            self.directory.set_networks(networks.number);
            let members = networks.members.keys();
            self.jobs
                .extend(members.map(|stack| Job::ForgetWays { stack: *stack }));
        }
        self.run_jobs();
    }

    /// All stacks get their queues of a new interface, and what they serve is steered to them.
    fn bring_members(&mut self, at: usize) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        networks.leave_to_kernel_at(at);
        let members: Vec<StackId> = networks.members.keys().copied().collect();
        for id in members {
            if self.join_interface(id, at).is_err() {
                // Why is in the log.
                self.leave_interface(id, at);
                continue;
            }
            self.steer_all(id, at);
        }
    }

    /// What a stack has claimed is steered to it at a new interface.
    fn steer_all(&mut self, id: StackId, at: usize) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        let claims = networks.members.get(&id).map(|member| &member.claims);
        let claims = claims.into_iter().flatten();
        let ports: Vec<u16> = claims.filter_map(|claim| claim.kernels_port()).collect();
        // Before and after, as ever: what the kernel accepts until it is steered is the kernel's.
        for port in &ports {
            networks.leave_to_kernel(*port);
        }
        let member = networks.members.get(&id);
        if let (Some(member), Some(interface)) = (member, networks.interfaces.get_mut(at)) {
            let index = interface.index;
            for claim in member.claims.iter().filter(|claim| claim.is_at(index)) {
                if let Err(error) = claim.steer(interface, member.number) {
                    self.log.line(format_args!("steering: {error}"));
                }
            }
            for connection in &member.connections {
                let _ = interface.steering.add_connection(connection, member.number);
            }
        }
        for port in &ports {
            networks.leave_to_kernel(*port);
        }
    }
}
