//! What must come to whom, from the rules alone: the list of all that was published, held against what clients saw.

use std::str::FromStr;
use std::sync::atomic::Ordering;

use crate::hub::bounds::Bounds;
use crate::hub::close::CloseReason;
use crate::hub::frame::Framing;
use crate::hub::gap::GapReason;
use crate::hub::policy::SlowPolicy;
use crate::hub::registry::Tally;
use crate::hub::topic::{Pattern, Subscription, TopicHandle};

use super::kit::Seen;
use super::press::{Named, Published};
use super::world::{Connection, DEADLINE_MS, HEARTBEAT_MS, PROGRESS_BYTES, STEP_MS_MAX, World};

/// What the laws say that former faults break.
pub(super) const NOTHING_LOST: &str = "nothing of it has left the log";
pub(super) const ABOUT_TO_BE_LAPPED: &str = "it sleeps, and is about to be lapped";
pub(super) const OWED_IN_SLEEP: &str = "and its shard sleeps";

/// Whether a subscription names a topic, or one of its patterns matches it: each is asked.
fn wants(subscription: &Subscription, topic: &TopicHandle) -> bool {
    let matches = |pattern: &Pattern| pattern.matches(topic.as_str());
    subscription.topics().iter().any(|named| named.as_str() == topic.as_str())
        || subscription.patterns().iter().any(matches)
}

impl World {
    fn is_of(&self, subscription: usize, event: &Published) -> bool {
        event.topics.iter().any(|topic| wants(&self.subscriptions[subscription], topic))
    }

    /// Whether this event is one of the connection's.
    fn expects(&self, connection: &Connection, published: &[Published], seq: u64) -> bool {
        let Some((after, _, opened_at)) = connection.opened else { return false };
        let event = &published[seq as usize - 1];
        let since = if event.live_only { after.max(opened_at) } else { after };
        seq > since && self.is_of(connection.subscription, event)
    }

    /// The first and the last offset that an id names which a stream was told.
    fn offsets(&self, id: &str) -> (u64, u64) {
        match self.press.named(id) {
            Named::Offsets(first, last) | Named::Former(first, last, _) => (first, last),
            other => panic!("{id} is {other:?}"),
        }
    }

    /// Whether newer events of the same key, up to `to`, stand for this one: on each topic of it that the
    /// subscription has, one of them has come after it.
    fn is_stood_for(&self, connection: &Connection, published: &[Published], seq: u64, to: u64) -> bool {
        let event = &published[seq as usize - 1];
        let subscription = &self.subscriptions[connection.subscription];
        let is_wanted = |topic: &&TopicHandle| wants(subscription, topic);
        event.key.is_some()
            && event.topics.iter().filter(is_wanted).all(|topic| {
                (seq + 1..=to).any(|newer| {
                    let newer_event = &published[newer as usize - 1];
                    newer_event.key == event.key
                        && newer_event.topics.contains(topic)
                        && self.expects(connection, published, newer)
                })
            })
    }

    /// Whether a gap that the stream was told of accounts for an event that it did not get.
    fn is_excused(&self, connection: &Connection, published: &[Published], seq: u64) -> bool {
        // Who wants the oldest that there is, may find that there is less than there was.
        if connection.from_oldest && connection.events == 0 && seq <= self.press.forgotten.get() {
            return true;
        }
        let evicted_live = self.press.evicted.get()[1];
        let is_live_only = published[seq as usize - 1].live_only;
        if is_live_only && connection.live_gaps.iter().any(|&(from, to)| from < seq && seq <= to) {
            return true;
        }
        connection.gaps.iter().any(|&(from, to, reason)| match reason {
            GapReason::Lagged => {
                (from < seq && seq <= to) || published[seq as usize - 1].live_only && seq <= evicted_live
            }
            GapReason::Conflated => from < seq && seq <= to && self.is_stood_for(connection, published, seq, to),
            GapReason::Expired => from < seq && seq <= to && !is_live_only,
            // What is there was to come before it.
            GapReason::Lost => from < seq && seq <= to && self.is_missing(published, seq),
            // Nothing is left of what was before.
            GapReason::ForeignEpoch => seq <= to,
            GapReason::UnknownId => false,
        })
    }

    /// Whether events are missing at this offset: of the engine's, or since the archive does not have them.
    fn is_missing(&self, published: &[Published], seq: u64) -> bool {
        let event = &published[seq as usize - 1];
        let is_given_up = || self.given_up.iter().any(|&(first, last)| (first..=last).contains(&seq));
        event.missing.is_some() || !event.live_only && is_given_up()
    }

    /// Whether something of the connection after this offset has left the log.
    fn has_lost(&self, connection: &Connection, published: &[Published], after: u64) -> bool {
        let evicted = self.press.evicted.get();
        (after + 1..=evicted[0].max(evicted[1])).any(|seq| {
            let kind = usize::from(published[seq as usize - 1].live_only);
            seq <= evicted[kind] && self.expects(connection, published, seq)
        })
    }

    fn context(&self, at: usize) -> String {
        let Connection { closed, policies, seen, opened, subscription, .. } = &self.connections[at];
        format!(
            "connection {at} on {subscription} (policies {policies:?}, opened {opened:?}, closed {closed:?}): {seen:?}"
        )
    }

    /// A stream starts where its client asked, or is told.
    pub(super) fn check_start(&self, at: usize) {
        let connection = &self.connections[at];
        let (after, gap, head) = connection.opened.unwrap();
        assert!(after <= head);
        let Some(id) = &connection.asked else { return };
        let published = self.press.published.borrow();
        if published.iter().any(|event| event.id.as_deref() == Some(id) && event.has_own_id) {
            return;
        }
        let (first, last) = match self.press.named(id) {
            // It was not there yet. Ids of one epoch are in order.
            Named::Offsets(..) if *id > self.press.id(head) => return,
            Named::Former(.., ended) if ended > head && *id > self.press.id(head) => return,
            Named::Offsets(first, last) => (first, last),
            Named::Former(first, last, ended) if ended > head => (first, last),
            Named::Former(..) => {
                return assert_eq!(gap, Some(GapReason::ForeignEpoch), "{}", self.context(at));
            }
            Named::Ahead | Named::Not => return,
        };
        let is_mine = |&seq: &u64| {
            let event = &published[seq as usize - 1];
            !event.live_only && self.is_of(connection.subscription, event)
        };
        match gap {
            None => {
                let (skipped, again) = ((last + 1..=after).find(is_mine), (after + 1..=first).find(is_mine));
                assert_eq!((skipped, again), (None, None), "{}", self.context(at));
                assert!(self.press.engine || after == first, "{}", self.context(at));
            }
            Some(GapReason::Expired) => {
                let lost = (first + 1..=self.press.evicted.get()[0]).any(|seq| is_mine(&seq));
                assert!(lost, "nothing of it has expired: {}", self.context(at));
            }
            Some(other) => panic!("{other:?}: {}", self.context(at)),
        }
    }

    /// The client reads what has come, and holds it against what was published.
    pub(super) fn read(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let mut wire = connection.wire.borrow_mut();
        let streams = self.cores[connection.shard].shard.streams();
        let is_behind = connection.key.and_then(|key| streams.is_behind(key)).unwrap_or(false);
        connection.fell_behind |= wire.waiting || is_behind;
        if wire.waiting || is_behind || connection.key.is_none() {
            connection.caught_up_ms = self.time.now_ms();
        }
        if wire.got.is_empty() {
            return;
        }
        let got = std::mem::take(&mut wire.got);
        drop(wire);
        let mut seen = Vec::new();
        connection.reader.feed(&got, connection.framing, &mut seen);
        for seen in seen {
            let is_first = self.connections[at].seen.is_empty();
            self.connections[at].seen.push(seen.clone());
            self.check_seen(at, seen, is_first);
        }
    }

    fn check_seen(&mut self, at: usize, seen: Seen, is_first: bool) {
        let published = self.press.published.borrow();
        let connection = &self.connections[at];
        let context = || self.context(at);
        assert_eq!(connection.farewells, 0, "nothing follows a farewell: {}", context());
        let (after, start_gap, opened_at) = connection.opened.expect("it was opened");
        if start_gap.is_some() && is_first {
            assert!(matches!(seen, Seen::Gap { .. }), "a gap is told first: {}", context());
        }
        let is_told = is_first && self.marks && start_gap.is_none() && !connection.from_oldest;
        if is_told && !matches!(seen, Seen::Mark { .. }) {
            let had = connection.asked.as_ref();
            assert_eq!(had, Some(&self.press.id(after)), "it is told where it starts: {}", context());
        }
        match seen {
            Seen::Mark { id } => {
                let (through, through_last) = self.offsets(&id);
                assert!(self.marks && through <= self.press.head(), "{}", context());
                let has_it = start_gap.is_none() && connection.asked.as_ref() == Some(&id);
                assert!(!has_it, "it has that id: {}", context());
                let knew = connection.asked.as_ref() == Some(&self.press.id(after));
                // An engine's id may be of an event that has left the log since, and was none of its.
                let starts_here = if self.press.engine { through_last >= after } else { through == after };
                assert!(!is_first || knew || starts_here, "it is told where it starts: {}", context());
                assert!(through >= connection.named, "a mark moves nobody back: {}", context());
                for missing in connection.accounted.max(connection.clear) + 1..=through {
                    let fine = !self.expects(connection, &published, missing)
                        || self.is_excused(connection, &published, missing);
                    assert!(fine, "{missing} is missing before mark {through}: {}", context());
                }
                drop(published);
                let connection = &mut self.connections[at];
                connection.accounted = connection.accounted.max(through);
                connection.clear = connection.clear.max(through);
                connection.named = through;
                self.marked += u64::from(!is_first);
            }
            Seen::Event { seq, id } => {
                assert!(self.expects(connection, &published, seq), "{seq} is not its event: {}", context());
                assert!(seq > connection.accounted, "{seq} came twice or late: {}", context());
                assert_eq!(id, published[seq as usize - 1].id, "{}", context());
                for missing in connection.accounted.max(connection.clear) + 1..seq {
                    let fine = !self.expects(connection, &published, missing)
                        || self.is_excused(connection, &published, missing);
                    let event = &published[missing as usize - 1];
                    assert!(fine, "{missing} is missing before {seq}, {event:?}: {}", context());
                }
                let is_kept = !published[seq as usize - 1].live_only;
                drop(published);
                let connection = &mut self.connections[at];
                if is_kept {
                    connection.named = seq;
                }
                connection.accounted = seq;
                connection.clear = connection.clear.max(seq);
                connection.events += 1;
                connection.live_events += u64::from(seq > opened_at);
                let max_events = connection.max_events.unwrap_or(u32::MAX);
                assert!(connection.events <= max_events, "at most {max_events} events: {}", self.context(at));
            }
            Seen::Gap { from, to, reason, id } => {
                let (to_first, to_offset) = self.offsets(&to);
                let reason = GapReason::from_str(&reason).unwrap();
                let mut live_gap = None;
                let gap = match reason {
                    GapReason::Lagged => {
                        let (from, from_last) = self.offsets(from.as_ref().unwrap());
                        // What was live only may be missing beyond the offset to resume after.
                        let (_, resumes_after) = self.offsets(id.as_ref().unwrap());
                        assert!(from <= to_offset && connection.accounted <= from_last, "{}", context());
                        assert!(resumes_after <= to_offset, "{}", context());
                        assert!(connection.policies.iter().any(|policy| *policy != SlowPolicy::Disconnect));
                        // One that comes from an archive has passed over live-only events that the log may still have.
                        let told = connection.live_gaps.iter().map(|&(_, to)| to).max().unwrap_or(0).max(from);
                        let passes_over = connection.archived
                            && (told + 1..=to_offset).any(|seq| {
                                published[seq as usize - 1].live_only && self.expects(connection, &published, seq)
                            });
                        let has_lost = passes_over || self.has_lost(connection, &published, from);
                        assert!(has_lost, "{NOTHING_LOST}: {}", context());
                        live_gap = connection.archived.then_some((from, to_offset));
                        (from, resumes_after, reason)
                    }
                    GapReason::Conflated => {
                        let (from, from_last) = self.offsets(from.as_ref().unwrap());
                        assert!(from <= to_offset && connection.accounted <= from_last, "{}", context());
                        assert!(id.is_none() && connection.policies.contains(&SlowPolicy::Conflate), "{}", context());
                        let any = (from + 1..=to_offset).any(|seq| {
                            self.expects(connection, &published, seq)
                                && self.is_stood_for(connection, &published, seq, to_offset)
                        });
                        assert!(any, "nothing was conflated in {from}..={to_offset}: {}", context());
                        (from, to_offset, reason)
                    }
                    GapReason::Expired | GapReason::Lost if connection.archived => {
                        let (from, _) = self.offsets(from.as_ref().unwrap());
                        assert!(from < to_offset && connection.accounted <= from, "{}", context());
                        assert!(id.as_ref() == Some(&to), "{}", context());
                        let is_missing = match reason {
                            GapReason::Expired => to_offset <= self.press.forgotten.get(),
                            _ => self.given_up.iter().any(|&(first, last)| (first..=last).contains(&to_offset)),
                        };
                        assert!(is_missing, "the archive has {from}..={to_offset}: {}", context());
                        (from, to_offset, reason)
                    }
                    GapReason::Lost => {
                        let (from, from_last) = self.offsets(from.as_ref().unwrap());
                        assert!(from < to_first && connection.accounted <= from_last, "{}", context());
                        assert!(id.as_ref() == Some(&to), "{}", context());
                        let missing = published[to_first as usize - 1].missing;
                        assert_eq!(missing, Some(GapReason::Lost), "the engine has it: {}", context());
                        (from, to_first, reason)
                    }
                    GapReason::ForeignEpoch if !is_first || start_gap != Some(reason) => {
                        assert!(from.is_none() && id.as_ref() == Some(&to), "{}", context());
                        assert!(connection.accounted < to_first, "{}", context());
                        let missing = published[to_first as usize - 1].missing;
                        assert_eq!(missing, Some(GapReason::ForeignEpoch), "its events are the same: {}", context());
                        (0, to_first, reason)
                    }
                    _ => {
                        assert!(is_first && start_gap == Some(reason), "{}", context());
                        assert_eq!(from, connection.asked, "{}", context());
                        assert!((to_first..=to_offset).contains(&after), "{}", context());
                        assert_eq!(id.as_ref(), Some(&to));
                        drop(published);
                        self.connections[at].named = to_first;
                        return;
                    }
                };
                drop(published);
                match reason {
                    GapReason::Lost if self.press.engine => self.told[0] += 1,
                    GapReason::ForeignEpoch => self.told[1] += 1,
                    _ => {}
                }
                if let Some(id) = id {
                    self.connections[at].named = self.offsets(&id).0;
                }
                self.connections[at].gaps.push(gap);
                self.connections[at].live_gaps.extend(live_gap);
            }
            Seen::Retry => {
                assert!(matches!(connection.told_to_end, Some((CloseReason::Drained, ..))) || self.is_draining());
                drop(published);
                self.connections[at].farewells += 1;
            }
            Seen::Comment | Seen::Own => {}
        }
    }

    /// Everything of the connection up to this offset has come, or was accounted for.
    fn is_complete(&self, at: usize, through: u64, when: &str) {
        let connection = &self.connections[at];
        let published = self.press.published.borrow();
        for seq in connection.clear + 1..=through {
            let fine = !self.expects(connection, &published, seq) || self.is_excused(connection, &published, seq);
            let event = &published[seq as usize - 1];
            assert!(fine, "{seq} is owed {when}, {event:?}: {}", self.context(at));
        }
    }

    /// The law: when a shard sleeps, nothing is owed to anyone that a wake-up, a timer or a socket would not bring.
    pub(super) fn nothing_is_owed(&mut self, shard: usize) {
        let core = &self.cores[shard];
        if core.woken.load(Ordering::SeqCst) {
            return;
        }
        assert!(core.around.mail.is_empty(), "it sleeps, and has mail");
        let position = core.shard.streams().position();
        assert!(position >= self.bus.log.halfway(), "{ABOUT_TO_BE_LAPPED}");
        let due = if core.around.resting.get() { position.get() } else { self.press.head() };
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            let wire = connection.wire.borrow();
            let reports = core.sockets.iter().any(|(key, _)| Some(*key) == connection.key);
            if connection.shard != shard
                || connection.closed.is_some()
                || wire.waiting
                || wire.broken.is_some()
                || reports
            {
                continue;
            }
            drop(wire);
            if connection.key.is_some_and(|key| core.shard.streams().waits_for_page(key)) {
                let pages = self.bus.log.page_cache();
                let asked = !self.pages_asked.is_empty() || pages.is_some_and(|pages| pages.is_asked());
                assert!(asked, "it waits for a page that nobody reads: {}", self.context(at));
                continue;
            }
            assert!(connection.key.is_some(), "its request was left: {}", self.context(at));
            assert!(!connection.reader.is_amid(), "cut, and its socket is not full: {}", self.context(at));
            self.is_complete(at, due, OWED_IN_SLEEP);
            assert!(Some(connection.events) != connection.max_events, "it should have ended: {}", self.context(at));
            if let Some((reason, ..)) = connection.told_to_end
                && reason != CloseReason::Drained
            {
                panic!("an end is owed: {}", self.context(at));
            }
            let clear = due.max(connection.clear);
            self.connections[at].clear = clear;
        }
    }

    /// What a closed connection had to get by then.
    pub(super) fn check_close(&self, at: usize, reason: CloseReason) {
        let connection = &self.connections[at];
        let wire = connection.wire.borrow();
        let context = || self.context(at);
        match reason {
            CloseReason::MaxEvents => assert_eq!(Some(connection.events), connection.max_events, "{}", context()),
            CloseReason::Drained => {
                let through = connection.told_to_end.map_or(0, |(_, through, _)| through);
                self.is_complete(at, through, "and it was drained");
                assert_eq!(connection.farewells, 1, "{}", context());
            }
            CloseReason::MaxSeconds
            | CloseReason::Rotated
            | CloseReason::TokenExpired
            | CloseReason::TokenRevoked
            | CloseReason::Superseded => {
                let (told, through, was_live) = connection.told_to_end.expect("a timer");
                if told == reason && was_live && !connection.fell_behind {
                    self.is_complete(at, through, "and it was ended");
                }
            }
            CloseReason::Lagged => {
                assert!(connection.policies.contains(&SlowPolicy::Disconnect), "{}", context());
                assert!(!connection.reader.is_amid(), "{}", context());
                let published = self.press.published.borrow();
                let passes_over = connection.archived
                    && (connection.accounted + 1..=self.press.evicted.get()[0])
                        .any(|seq| published[seq as usize - 1].live_only && self.expects(connection, &published, seq));
                let has_lost = passes_over || self.has_lost(connection, &published, connection.accounted);
                assert!(has_lost, "{NOTHING_LOST}: {}", context());
            }
            CloseReason::ClientGone | CloseReason::WriteError => assert!(wire.broken.is_some(), "{}", context()),
            CloseReason::WriteDeadline => {
                // A shard's time may be as old as its turn is long.
                let since_ms = (self.time.now_ms() + self.turn_ms_max).saturating_sub(DEADLINE_MS);
                let is_silent = wire.written_ms <= since_ms;
                let taken: usize = wire.takes.iter().filter(|(at, _)| *at > since_ms).map(|(_, bytes)| bytes).sum();
                let is_slow = wire.since_ms <= since_ms && taken < PROGRESS_BYTES;
                assert!(wire.waiting && (is_silent || is_slow), "{taken} bytes: {}", context());
            }
            CloseReason::Pinned => {
                assert!(self.pinned_bytes < Bounds::SHIPPED.pinned_bytes, "there is room: {}", context());
                assert!(connection.reader.is_amid(), "it could go on: {}", context());
            }
            CloseReason::ClientData | CloseReason::Cut => {}
        }
        let properly = reason.is_proper();
        assert!(!properly || !connection.reader.is_amid(), "{}", context());
        assert_eq!(connection.reader.ended, properly && connection.framing == Framing::Chunked, "{}", context());
    }

    /// Live streams are not silent for longer than twice the interval, since one that waits for its shard when its
    /// heartbeat falls due is passed over.
    pub(super) fn heartbeats_come(&self) {
        if !self.has_heartbeats() {
            return;
        }
        for (at, connection) in self.connections.iter().enumerate() {
            let wire = connection.wire.borrow();
            if connection.closed.is_none() && !wire.waiting && wire.broken.is_none() {
                let silent_ms = self.time.now_ms().saturating_sub(wire.written_ms);
                assert!(
                    silent_ms <= 2 * HEARTBEAT_MS + STEP_MS_MAX + self.turn_ms_max,
                    "{silent_ms} ms without a heartbeat: {}",
                    self.context(at)
                );
            }
        }
        self.marks_come();
    }

    /// No live stream is left with an id that is old: for longer than it takes, a quarter of what was kept has not been
    /// newer.
    fn marks_come(&self) {
        let waited_ms = 2 * HEARTBEAT_MS + STEP_MS_MAX + self.turn_ms_max;
        let now_ms = self.time.now_ms();
        let old = self.old_before.iter().rev().find(|(at_ms, _)| at_ms + waited_ms < now_ms);
        let Some(&(since_ms, old_before)) = old.filter(|_| self.marks) else { return };
        for (at, connection) in self.connections.iter().enumerate() {
            let wire = connection.wire.borrow();
            let is_open = connection.closed.is_none() && !wire.waiting && wire.broken.is_none();
            if is_open && connection.key.is_some() && connection.caught_up_ms < since_ms {
                let named = connection.named;
                assert!(named >= old_before, "its id is {named}, before {old_before} is old: {}", self.context(at));
            }
        }
    }

    /// A client that comes back with the last id it saw gets, over all its connections, every kept
    /// event once, but for what it was told of.
    pub(super) fn check_chain(&self, at: usize) {
        let client = &self.clients[at];
        let mut opened = client.connections.iter().filter(|at| self.connections[**at].opened.is_some()).peekable();
        // One that lost its first stream before it was told anything has missed what it never knew of.
        while opened.next_if(|at| self.connections[**at].asked.is_none() && self.connections[**at].named == 0).is_some()
        {
        }
        let Some(first) = opened.peek().filter(|_| client.faithful && !self.press.careless_ids) else { return };
        let published = self.press.published.borrow();
        let (mut last, mut live_last) = (self.connections[**first].opened.unwrap().0, 0);
        // With the connection that was told.
        let mut gaps: Vec<(u64, u64, GapReason, usize)> = Vec::new();
        for &at in opened {
            let connection = &self.connections[at];
            let is_fine = |missing: u64, gaps: &[(u64, u64, GapReason, usize)]| {
                let event = &published[missing as usize - 1];
                let wanted = !event.live_only && self.is_of(client.subscription, event);
                let excused = gaps.iter().any(|&(from, to, reason, told)| {
                    from < missing
                        && missing <= to
                        && match reason {
                            GapReason::Conflated => self.is_stood_for(&self.connections[told], &published, missing, to),
                            GapReason::Lost => self.is_missing(&published, missing),
                            _ => true,
                        }
                });
                !wanted || excused
            };
            for seen in &connection.seen {
                match seen {
                    Seen::Event { seq, .. } if published[*seq as usize - 1].live_only => {
                        assert!(*seq > live_last, "live-only event {seq} came twice to {:?}", client.connections);
                        live_last = *seq;
                    }
                    Seen::Event { seq, .. } => {
                        assert!(*seq > last, "{seq} came twice to {:?}", client.connections);
                        for missing in last + 1..*seq {
                            let fine = is_fine(missing, &gaps);
                            assert!(fine, "{missing} never came to {:?}: {gaps:?}", client.connections);
                        }
                        last = *seq;
                    }
                    Seen::Mark { id } => {
                        let (through, through_last) = self.offsets(id);
                        assert!(
                            through_last >= last,
                            "{id} goes back, to {:?}: {}",
                            client.connections,
                            self.context(at)
                        );
                        for missing in last + 1..=through {
                            assert!(is_fine(missing, &gaps), "mark {through} passes over {missing}");
                        }
                        last = last.max(through);
                    }
                    Seen::Gap { from, to, reason, .. } => {
                        let reason = GapReason::from_str(reason).unwrap();
                        let from = match reason {
                            GapReason::Lagged | GapReason::Conflated => self.offsets(from.as_ref().unwrap()).0,
                            _ => last,
                        };
                        gaps.push((from, self.offsets(to).1, reason, at));
                    }
                    _ => {}
                }
            }
        }
    }

    /// What the shards counted is what clients got.
    pub(super) fn check_sums(&self) -> Tally {
        let mut tally = Tally::default();
        let mut observed = 0;
        for core in &self.cores {
            let notes = core.around.notes.borrow();
            observed += notes.observed;
            tally.opened += notes.tally.opened;
            tally.deliveries += notes.tally.deliveries;
            tally.bytes += notes.tally.bytes;
            tally.closed.iter_mut().zip(notes.tally.closed).for_each(|(sum, one)| *sum += one);
            tally.gaps.iter_mut().zip(notes.tally.gaps).for_each(|(sum, one)| *sum += one);
        }
        let sum = |of: fn(&Connection) -> u64| self.connections.iter().map(of).sum::<u64>();
        assert!(self.connections.iter().all(|connection| connection.closed.is_some()));
        assert_eq!(tally.deliveries, sum(|connection| connection.events.into()));
        assert_eq!(tally.bytes, sum(|connection| connection.wire.borrow().bytes));
        // What comes from an archive is replay, whenever it was published.
        let live = sum(|connection| connection.live_events);
        let archived = sum(|connection| if connection.archived { connection.live_events } else { 0 });
        let is_observed = (live - archived..=live).contains(&observed);
        assert!(is_observed, "each delivery but of replay was observed: {observed} of {live}");
        assert_eq!(tally.opened, self.connections.len() as u64);
        assert_eq!(tally.closed.iter().sum::<u64>(), tally.opened);
        let gaps = |connection: &Connection| {
            connection.seen.iter().filter(|seen| matches!(seen, Seen::Gap { .. })).count() as u64
        };
        assert!(tally.gaps.iter().sum::<u64>() >= sum(gaps), "each gap was counted");
        tally
    }
}
