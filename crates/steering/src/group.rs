//! The stacks that share a flow, as the program reads them: `struct group` in `bpf/tables.h`.

#[cfg(test)]
mod tests;

use crate::{GROUP_MAX, SteeringError};

/// How many, then each.
pub(crate) type Value = [u8; 1 + GROUP_MAX];

/// Which stacks serve a flow, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    count: usize,
    stacks: [u8; GROUP_MAX],
}

impl Group {
    /// As it is in the table.
    pub(crate) fn of(value: Value) -> Self {
        let [count, stacks @ ..] = value;
        Self {
            count: usize::from(count).min(GROUP_MAX),
            stacks,
        }
    }

    /// As it is to be in the table.
    pub(crate) fn value(&self) -> Value {
        let mut value = [0; 1 + GROUP_MAX];
        #[expect(
            clippy::cast_possible_truncation,
            reason = "no more than places, which are 16"
        )]
        let count = self.count as u8;
        value[0] = count;
        value[1..].copy_from_slice(&self.stacks);
        value
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes a stack in, if it is not there yet and there is a place.
    pub(crate) fn add(&mut self, stack: u8) -> Result<(), SteeringError> {
        if self.stacks[..self.count].contains(&stack) {
            return Ok(());
        }
        let place = self.stacks.get_mut(self.count).ok_or(SteeringError::Full)?;
        *place = stack;
        self.count += 1;
        Ok(())
    }

    /// Takes a stack out; the last one has its place. Returns whether it was there.
    pub(crate) fn remove(&mut self, stack: u8) -> bool {
        let members = &mut self.stacks[..self.count];
        let Some(place) = members.iter().position(|&member| member == stack) else {
            return false;
        };
        let last = self.count - 1;
        members.swap(place, last);
        members[last] = 0;
        self.count = last;
        true
    }
}
