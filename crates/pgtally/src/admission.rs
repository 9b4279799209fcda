//! How many sessions there are, in all, per user and per address, and whether there may be one more.
//!
//! Counted always, so that limits which a reload sets hold for the sessions that are there already. The tables hold
//! one entry per user and address *with* a session, and so no more than there are sessions. One lock, taken when a
//! session begins and when it ends.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::SessionLimits;

/// Counts the sessions of a proxy.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    sources: HashMap<IpAddr, u32>,
    users: HashMap<Arc<[u8]>, u32>,
}

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Source,
    Total,
    User,
}

impl Limit {
    /// Every limit.
    pub(crate) const ALL: [Self; 3] = [Self::Source, Self::Total, Self::User];

    /// For people and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Source => "max_sessions_per_source",
            Self::Total => "max_sessions",
            Self::User => "max_sessions_per_user",
        }
    }

    /// What the client is told with SQLSTATE 53300, in PostgreSQL's own words where it has some.
    pub(crate) fn message(self, user: &[u8]) -> String {
        match self {
            Self::Source => "too many connections from this address".into(),
            Self::Total => "sorry, too many clients already".into(),
            Self::User => format!("too many connections for role \"{}\"", String::from_utf8_lossy(user)),
        }
    }
}

impl Admission {
    /// Counts one more session until the answer is dropped; or says which limit does not allow it. Nobody's yet: see
    /// [`Admitted::name_user`].
    pub(crate) fn admit(
        self: &Arc<Self>,
        limits: &SessionLimits,
        source: Option<IpAddr>,
    ) -> Result<Admitted, Limit> {
        let mut counts = self.counts();
        let is_full = |count: u32, limit: Option<u32>| limit.is_some_and(|limit| count >= limit);
        if is_full(counts.total, limits.total) {
            return Err(Limit::Total);
        }
        let of_source = source.and_then(|source| counts.sources.get(&source));
        if is_full(of_source.copied().unwrap_or(0), limits.per_source.filter(|_| source.is_some())) {
            return Err(Limit::Source);
        }
        counts.total += 1;
        if let Some(source) = source {
            *counts.sources.entry(source).or_default() += 1;
        }
        Ok(Admitted { admission: Arc::clone(self), source, user: None })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing in here panics half way through.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that is counted.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    source: Option<IpAddr>,
    user: Option<Arc<[u8]>>,
}

impl Admitted {
    /// Counts the session as `user`'s too; or says that the user's limit does not allow it.
    pub(crate) fn name_user(&mut self, limits: &SessionLimits, user: &[u8]) -> Result<(), Limit> {
        let mut counts = self.admission.counts();
        let (user, count) = counts
            .users
            .get_key_value(user)
            .map_or_else(|| (user.into(), 0), |(user, count)| (user.clone(), *count));
        if limits.per_user.is_some_and(|limit| count >= limit) {
            return Err(Limit::User);
        }
        *counts.users.entry(Arc::clone(&user)).or_default() += 1;
        drop(counts);
        self.user = Some(user);
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.total = counts.total.saturating_sub(1);
        if let Some(source) = &self.source {
            take_one(&mut counts.sources, source);
        }
        if let Some(user) = &self.user {
            take_one(&mut counts.users, user);
        }
    }
}

fn take_one<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_until_a_session_ends() {
        let admission = Arc::new(Admission::default());
        let limits = SessionLimits { total: Some(4), per_source: Some(2), per_user: Some(3) };
        let source = |last| Some(IpAddr::from([10, 0, 0, last]));
        let admit = |user: &str, from| {
            let mut admitted = admission.admit(&limits, from)?;
            admitted.name_user(&limits, user.as_bytes()).map(|()| admitted)
        };
        let first = admit("ann", source(1)).unwrap();
        let _second = admit("ann", source(1)).unwrap();
        assert_eq!(admit("bob", source(1)).unwrap_err(), Limit::Source);
        let _third = admit("ann", source(2)).unwrap();
        assert_eq!(admit("ann", source(3)).unwrap_err(), Limit::User);
        let _fourth = admit("bob", None).unwrap();
        assert_eq!(admit("cid", None).unwrap_err(), Limit::Total);
        drop(first);
        admit("ann", source(1)).unwrap();
    }

    #[test]
    fn nothing_is_kept_of_sessions_that_are_over() {
        let admission = Arc::new(Admission::default());
        let limits = SessionLimits::default();
        let source = Some(IpAddr::from([10, 0, 0, 1]));
        let sessions: Vec<_> = (0..1_000)
            .map(|number: u32| {
                let mut admitted = admission.admit(&limits, source).unwrap();
                admitted.name_user(&limits, number.to_string().as_bytes()).unwrap();
                admitted
            })
            .collect();
        drop(sessions);
        let counts = admission.counts();
        assert_eq!((counts.total, counts.sources.len(), counts.users.len()), (0, 0, 0));
    }

    #[test]
    fn refusals_speak_as_postgresql_does() {
        assert_eq!(Limit::Total.message(b"ann"), "sorry, too many clients already");
        assert_eq!(Limit::User.message(b"ann"), "too many connections for role \"ann\"");
    }
}
