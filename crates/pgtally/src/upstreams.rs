//! The servers that sessions may go to: in which order to try them, and what is known about each.
//!
//! A relay cannot change its mind once a server has sent its first challenge, so the choice is made before: for `any`
//! in the order written, passing over those that failed a moment ago; else by what `prober.rs` has found out. What is
//! known about a server outlives a reload that keeps it in the list.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use pgtally_analysis::Moment;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config::SessionAttrs;
use crate::limits::UPSTREAM_RETRY;
use crate::socket::Address;

/// What a server has last been found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Role {
    /// Nobody has asked yet.
    Unknown,
    /// It could not be asked.
    Down,
    /// Its transactions may write.
    Primary,
    /// Not in recovery, and yet its transactions may not write (`default_transaction_read_only`).
    ReadOnlyPrimary,
    /// In recovery.
    Standby,
}

impl Role {
    /// All of them, each at the place of its number.
    pub(crate) const ALL: [Self; 5] =
        [Self::Unknown, Self::Down, Self::Primary, Self::ReadOnlyPrimary, Self::Standby];

    /// For people and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Primary => "primary",
            Self::ReadOnlyPrimary => "read_only_primary",
            Self::Standby => "standby",
        }
    }

    const fn fits(self, attrs: SessionAttrs) -> bool {
        match attrs {
            SessionAttrs::Any => true,
            SessionAttrs::ReadWrite => matches!(self, Self::Primary),
            SessionAttrs::ReadOnly => matches!(self, Self::ReadOnlyPrimary | Self::Standby),
            SessionAttrs::Primary => matches!(self, Self::Primary | Self::ReadOnlyPrimary),
            SessionAttrs::Standby => matches!(self, Self::Standby),
            SessionAttrs::PreferStandby => !matches!(self, Self::Unknown | Self::Down),
        }
    }
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: Address,
    role: AtomicU8,
    /// Moment of the last failed attempt to connect, plus one; 0 when the last one succeeded.
    failed: AtomicU64,
}

impl Server {
    fn at(address: Address) -> Arc<Self> {
        Arc::new(Self { address, role: AtomicU8::new(0), failed: AtomicU64::new(0) })
    }

    pub(crate) fn role(&self) -> Role {
        Role::ALL.get(usize::from(self.role.load(Ordering::Relaxed))).copied().unwrap_or(Role::Unknown)
    }

    /// Records whether a session could connect.
    pub(crate) fn contacted(&self, is_up: bool, now: Moment) {
        self.failed.store(if is_up { 0 } else { now.0 + 1 }, Ordering::Relaxed);
    }

    /// Whether it is most likely down.
    pub(crate) fn is_doubtful(&self, now: Moment) -> bool {
        self.role() == Role::Down || self.has_failed_lately(now)
    }

    fn has_failed_lately(&self, now: Moment) -> bool {
        let failed = self.failed.load(Ordering::Relaxed).checked_sub(1);
        failed.is_some_and(|failed| Duration::from_nanos(now.since(Moment(failed))) < UPSTREAM_RETRY)
    }
}

/// All servers, in order of preference.
#[derive(Debug)]
pub(crate) struct Upstreams {
    attrs: SessionAttrs,
    servers: Vec<Arc<Server>>,
    /// Signalled when a role has become known.
    learned: Notify,
}

impl Upstreams {
    /// The servers at `addresses`; what `known` has found out about any of them is kept.
    pub(crate) fn new(addresses: &[Address], attrs: SessionAttrs, known: Option<&Self>) -> Self {
        let servers = addresses.iter().map(|address| {
            let known =
                known.and_then(|known| known.servers.iter().find(|server| server.address == *address));
            known.map_or_else(|| Server::at(address.clone()), Arc::clone)
        });
        Self { attrs, servers: servers.collect(), learned: Notify::new() }
    }

    /// What is asked of a server.
    pub(crate) fn attrs(&self) -> SessionAttrs {
        self.attrs
    }

    /// All servers, whatever they are.
    pub(crate) fn all(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// The servers a session may have, the best first. While one that is not known yet could be better, waits for the
    /// prober, at most for `patience`.
    pub(crate) async fn candidates(&self, now: Moment, patience: Duration) -> Vec<Arc<Server>> {
        let choose = async {
            loop {
                let learned = self.learned.notified();
                let chosen = self.choose(now);
                let is_certain = self.servers.iter().all(|server| server.role() != Role::Unknown);
                if is_certain || chosen.first().is_some_and(|server| self.is_best(server)) {
                    return chosen;
                }
                learned.await;
            }
        };
        match timeout(patience, choose).await {
            Ok(chosen) => chosen,
            Err(_) => self.choose(now),
        }
    }

    fn choose(&self, now: Moment) -> Vec<Arc<Server>> {
        let fitting = self.servers.iter().filter(|server| server.role().fits(self.attrs));
        let mut chosen: Vec<_> = fitting.map(Arc::clone).collect();
        // A stable sort: beyond these reasons the order stays the written one.
        chosen.sort_by_key(|server| (server.has_failed_lately(now), self.is_second_choice(server)));
        chosen
    }

    /// Whether nothing that is not known yet could be better.
    fn is_best(&self, server: &Arc<Server>) -> bool {
        let mut before = self.servers.iter().take_while(|other| !Arc::ptr_eq(other, server));
        let has_no_rival = before.all(|other| other.role() != Role::Unknown);
        self.attrs == SessionAttrs::Any || has_no_rival && !self.is_second_choice(server)
    }

    fn is_second_choice(&self, server: &Server) -> bool {
        self.attrs == SessionAttrs::PreferStandby && server.role() != Role::Standby
    }

    /// Records what `server` is; true when that is news.
    pub(crate) fn learn(&self, server: &Server, role: Role) -> bool {
        let before = server.role.swap(role as u8, Ordering::Relaxed);
        self.learned.notify_waiters();
        before != role as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(attrs: SessionAttrs, roles: &[Role]) -> Upstreams {
        let addresses: Vec<_> = (1..).map(|port| Address::Tcp("db".into(), port)).take(roles.len()).collect();
        let upstreams = Upstreams::new(&addresses, attrs, None);
        for (server, role) in upstreams.servers.iter().zip(roles) {
            upstreams.learn(server, *role);
        }
        upstreams
    }

    fn ports(chosen: &[Arc<Server>]) -> Vec<u16> {
        let port = |server: &Arc<Server>| match server.address {
            Address::Tcp(_, port) => port,
            Address::Unix(_) => 0,
        };
        chosen.iter().map(port).collect()
    }

    #[test]
    fn servers_are_chosen_by_what_they_are() {
        let roles = [Role::Down, Role::Standby, Role::Primary, Role::ReadOnlyPrimary, Role::Unknown];
        let check = |attrs: SessionAttrs, expected: &[u16]| {
            assert_eq!(ports(&upstreams(attrs, &roles).choose(Moment(0))), expected, "{attrs:?}");
        };
        check(SessionAttrs::Any, &[1, 2, 3, 4, 5]);
        check(SessionAttrs::ReadWrite, &[3]);
        check(SessionAttrs::ReadOnly, &[2, 4]);
        check(SessionAttrs::Primary, &[3, 4]);
        check(SessionAttrs::Standby, &[2]);
        check(SessionAttrs::PreferStandby, &[2, 3, 4]);
    }

    #[test]
    fn a_server_that_failed_is_tried_last_for_a_while() {
        let upstreams = upstreams(SessionAttrs::Any, &[Role::Unknown; 3]);
        upstreams.all()[0].contacted(false, Moment(5));
        assert_eq!(ports(&upstreams.choose(Moment(6))), [2, 3, 1]);
        let later = Moment(5 + u64::try_from(UPSTREAM_RETRY.as_nanos()).unwrap());
        assert_eq!(ports(&upstreams.choose(later)), [1, 2, 3]);
        upstreams.all()[1].contacted(false, later);
        upstreams.all()[1].contacted(true, later);
        assert_eq!(ports(&upstreams.choose(later)), [1, 2, 3]);
    }

    #[test]
    fn what_is_known_outlives_a_reload() {
        let old = upstreams(SessionAttrs::Standby, &[Role::Primary, Role::Standby]);
        let addresses = [old.all()[1].address.clone(), Address::Tcp("new".into(), 9)];
        let new = Upstreams::new(&addresses, SessionAttrs::Standby, Some(&old));
        assert_eq!(ports(&new.choose(Moment(0))), [2]);
        assert_eq!(new.all()[1].role(), Role::Unknown);
    }
}
