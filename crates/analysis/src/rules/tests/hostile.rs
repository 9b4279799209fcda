//! The rules on data that no observer should write: nothing may panic, and what is promised of the result holds.

use pgtally_fingerprint::Kind;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{AUTHOR, ITEMS, POSTS, USER};
use crate::merge::Request;
use crate::part::narrow;
use crate::record::{KeyValue, Moment, RequestPart, RowSample, SampleColumn, ShortDuration, StatementRecord};
use crate::settings::FindingSettings;
use crate::testing::{Script, fingerprint};

/// Parts as no observer should write them: ranges beyond their vectors, rows that don't fill their columns.
fn any_part() -> impl Strategy<Value = RequestPart> {
    let texts =
        [POSTS, AUTHOR, ITEMS, USER, "UPDATE users SET a = $1 WHERE id = $2", "no SQL", "SELECT a FROM t"];
    let record = (0..texts.len(), 0..40_u16, 0..4_u8, 0..3_u64, any::<u64>(), any::<bool>(), 0..3_u32);
    let key = (1..4_u16, 0..3_u16, 0..6_u32);
    let sample = (0..texts.len(), 0..50_u32, vec(0..6_u32, 0..40), 0..4_u16);
    (vec(record, 0..80), vec(key, 0..40), vec(sample, 0..6)).prop_map(move |(records, keys, samples)| {
        let mut part = Script::new().part();
        part.records = records
            .into_iter()
            .map(|(text, start, count, hash, time, is_round_trip, transaction)| StatementRecord {
                fingerprint: fingerprint(texts[text]),
                kind: if texts[text].starts_with("UPDATE") { Kind::Update } else { Kind::Select },
                sent: Moment(time),
                server: ShortDuration::from_ns(time),
                transfer: ShortDuration::from_ns(time),
                turnaround: ShortDuration::from_ns(time / 2),
                rows: narrow(hash),
                bytes: narrow(time),
                parameters_hash: hash,
                others_hash: narrow(hash / 2),
                keys_start: start,
                key_count: count,
                cells_start: count.into(),
                cell_count: count,
                environment: 0,
                transaction,
                is_round_trip,
                error: (hash == 2).then_some(*b"40001"),
                is_retried: hash == 3,
                is_fetched_in_pieces: hash == 1,
            })
            .collect();
        let key =
            |(parameter, elements, value)| KeyValue { parameter, elements, value, list_hash: value.into() };
        part.keys = keys.into_iter().map(key).collect();
        part.samples = samples
            .into_iter()
            .map(|(text, first_record, values, width)| RowSample {
                fingerprint: fingerprint(texts[text]),
                first_record,
                executions: u32::MAX,
                rows: values.len() as u64,
                columns: (0..width).map(column).collect(),
                values,
            })
            .collect();
        part
    })
}

fn column(position: u16) -> SampleColumn {
    SampleColumn { position, table_oid: position.into(), attribute: 1, type_oid: 23, label: "id".into() }
}

proptest! {
    #[test]
    fn no_part_panics_the_rules(parts in vec(any_part(), 1..4)) {
        let mut script = Script::new();
        for text in [POSTS, AUTHOR, ITEMS, USER, "UPDATE users SET a = $1 WHERE id = $2", "SELECT a FROM t"] {
            script.read(text);
        }
        let mut parts = parts.into_iter();
        let mut request = Request::new(parts.next().expect("at least one"));
        parts.for_each(|part| request.absorb(part));
        for settings in [FindingSettings::default(), FindingSettings::run_mode()] {
            let found = script.evaluate_request(&request, &settings);
            prop_assert!(found.is_sorted_by_key(|it| std::cmp::Reverse(it.severity)));
            let ids: std::collections::BTreeSet<_> = found.iter().map(|it| it.id).collect();
            prop_assert_eq!(ids.len(), found.len());
        }
    }
}
