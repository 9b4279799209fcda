//! Values that stay in one place from when they are made until they are given up.
//!
//! What is attached to an execution is large, and it is looked at from three directions (the message sent, the
//! portal, the answer): those hold its slot's number instead of moving it. The slot given up last is taken first, so
//! that a session that works step by step uses one place again and again.

/// Number of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId(u32);

#[derive(Debug)]
enum Slot<T> {
    Free { next: Option<SlotId> },
    Used(T),
}

/// A table of slots.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    first_free: Option<SlotId>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), first_free: None }
    }

    pub(crate) fn insert(&mut self, value: T) -> SlotId {
        if let Some(id) = self.first_free
            && let Some(slot) = self.slots.get_mut(id.0 as usize)
            && let Slot::Free { next } = *slot
        {
            self.first_free = next;
            *slot = Slot::Used(value);
            return id;
        }
        if self.slots.len() == self.slots.capacity() && self.slots.len() < KEPT {
            self.slots.reserve_exact(1);
        }
        // As many as messages can be pending and portals be open: far below 2^32.
        let id = SlotId(self.slots.len() as u32);
        self.slots.push(Slot::Used(value));
        id
    }

    pub(crate) fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        match self.slots.get_mut(id.0 as usize)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    pub(crate) fn remove(&mut self, id: SlotId) {
        if let Some(slot @ Slot::Used(_)) = self.slots.get_mut(id.0 as usize) {
            *slot = Slot::Free { next: self.first_free };
            self.first_free = Some(id);
        }
    }

    /// Gives back the memory that a long pipeline needed, where only the values of `ids` are left.
    pub(crate) fn compact<'a>(&mut self, ids: impl ExactSizeIterator<Item = &'a mut SlotId>) {
        // Growing doubles: twice the values, and a little more, are no waste.
        if self.slots.len() <= 2 * ids.len() + SPARE_MAX {
            return;
        }
        let mut before = std::mem::replace(self, Self::new());
        for id in ids {
            let slot = before.slots.get_mut(id.0 as usize);
            if let Some(Slot::Used(value)) =
                slot.map(|slot| std::mem::replace(slot, Slot::Free { next: None }))
            {
                *id = self.insert(value);
            }
        }
    }

    /// Gives up all values, and the memory that a long pipeline needed.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.slots.shrink_to(KEPT);
        self.first_free = None;
    }
}

/// Slots an idle session keeps: a portal, and the `Bind` that replaces it.
const KEPT: usize = 2;
/// Free slots a session keeps while portals are open.
const SPARE_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_given_up_last_is_taken_first() {
        let mut slots = Slots::new();
        let [a, b, c] = ["a", "b", "c"].map(|value| slots.insert(value));
        slots.remove(b);
        slots.remove(a);
        slots.remove(a);
        assert_eq!(slots.get_mut(a), None);
        assert_eq!((slots.insert("d"), slots.insert("e")), (a, b));
        assert_eq!(slots.get_mut(b), Some(&mut "e"));
        assert_eq!(slots.get_mut(c), Some(&mut "c"));
        slots.clear();
        assert_eq!(slots.get_mut(c), None);
        assert_eq!(slots.insert("f"), a);
    }

    #[test]
    fn what_is_left_of_many_takes_little() {
        let mut slots = Slots::new();
        let ids: Vec<SlotId> = (0..1_000).map(|value| slots.insert(value)).collect();
        let mut left = [ids[999], ids[3]];
        ids.iter().filter(|id| !left.contains(id)).for_each(|id| slots.remove(*id));
        slots.compact(left.iter_mut());
        assert_eq!(left.map(|id| slots.get_mut(id).copied()), [Some(999), Some(3)]);
        assert!(slots.slots.capacity() < 10);
        assert!(!left.contains(&slots.insert(7)));
    }
}
