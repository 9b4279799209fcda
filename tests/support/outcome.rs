//! What was observed of a session, as text that people can check: a line per request and statement.
//!
//! Key values are told by letters, the same letter for the same canonical value, in order of appearance. So linkage
//! can be seen: a key of a statement has the letter of the parent's cell.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use pgtally_analysis::{Counters, Dropped, RequestPart, RowSample, Shape, StatementRecord};
use pgtally_fingerprint::{Fingerprint, Kind};

/// Everything one observer handed over.
#[derive(Debug)]
pub struct Observed {
    /// Parts in the order of handing over.
    pub parts: Vec<RequestPart>,
    /// Shapes first met.
    pub shapes: Vec<Arc<Shape>>,
    /// Counters.
    pub counters: Counters,
    /// Why observation ended before the session.
    pub blind: Option<&'static str>,
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes = self.shapes.iter().map(|shape| (shape.fingerprint, shape.text.to_string()));
        let words = Words { shapes: shapes.collect(), letters: RefCell::default() };
        for part in &self.parts {
            words.part(f, part)?;
        }
        words.counters(f, &self.counters)?;
        self.blind.map_or(Ok(()), |reason| writeln!(f, "blind: {reason}"))
    }
}

struct Words {
    shapes: HashMap<Fingerprint, String>,
    letters: RefCell<Vec<u32>>,
}

impl Words {
    fn part(&self, f: &mut fmt::Formatter<'_>, part: &RequestPart) -> fmt::Result {
        let level = part.attribution.name();
        write!(f, "{} by {level}, route {}, counted {}", part.key, part.route, part.statements)?;
        if !part.origin.framework.is_empty() {
            write!(f, ", framework {}", part.origin.framework)?;
        }
        writeln!(f)?;
        part.records.iter().try_for_each(|record| self.record(f, part, record))?;
        part.samples.iter().try_for_each(|sample| self.sample(f, sample))
    }

    fn record(
        &self,
        f: &mut fmt::Formatter<'_>,
        part: &RequestPart,
        record: &StatementRecord,
    ) -> fmt::Result {
        write!(f, "  {} | rows {}", self.text(record.fingerprint), record.rows)?;
        for key in part.keys.get(record.keys()).unwrap_or_default() {
            match key.elements {
                1 => write!(f, " ${}={}", key.parameter, self.letter(key.value))?,
                elements => write!(f, " ${}=[{elements}]", key.parameter)?,
            }
        }
        if let Some(error) = record.error {
            write!(f, " error {}", String::from_utf8_lossy(&error))?;
        }
        for (is_so, word) in [
            (!record.is_round_trip, "pipelined"),
            (record.is_fetched_in_pieces, "in pieces"),
            (record.transaction > 0, "in transaction"),
            (record.environment != 0, "in environment"),
        ] {
            if is_so {
                write!(f, " {word}")?;
            }
        }
        for (name, ns) in [
            ("server", record.server.ns()),
            ("transfer", record.transfer.ns()),
            ("turnaround", record.turnaround.ns()),
        ] {
            if ns > 0 {
                write!(f, " {name} {}ms", ns / 1_000_000)?;
            }
        }
        writeln!(f)
    }

    fn sample(&self, f: &mut fmt::Formatter<'_>, sample: &RowSample) -> fmt::Result {
        let columns: Vec<_> = sample
            .columns
            .iter()
            .map(|column| match column.table_oid {
                0 => column.label.to_string(),
                table => format!("{}@{table}.{}", column.label, column.attribute),
            })
            .collect();
        write!(
            f,
            "  rows of {} | {} rows, executions {}",
            columns.join(" "),
            sample.rows,
            sample.executions
        )?;
        for row in sample.values.chunks(sample.columns.len().max(1)) {
            let cells: Vec<_> = row.iter().map(|cell| self.letter(*cell)).collect();
            write!(f, " ({})", cells.join(" "))?;
        }
        writeln!(f)
    }

    fn text(&self, fingerprint: Fingerprint) -> &str {
        self.shapes.get(&fingerprint).map_or("(unknown)", String::as_str)
    }

    /// A stable letter for a canonical hash.
    fn letter(&self, hash: u32) -> String {
        if hash == 0 {
            return "null".into();
        }
        let mut letters = self.letters.borrow_mut();
        let index = letters.iter().position(|known| *known == hash).unwrap_or_else(|| {
            letters.push(hash);
            letters.len() - 1
        });
        match u8::try_from(index) {
            Ok(small @ 0..26) => char::from(b'a' + small).to_string(),
            _ => format!("v{index}"),
        }
    }

    fn counters(&self, f: &mut fmt::Formatter<'_>, counters: &Counters) -> fmt::Result {
        for database in &counters.databases {
            write!(f, "finished in {}:", database.name)?;
            for (kind, count) in Kind::ALL.iter().zip(database.queries).filter(|(_, count)| *count > 0) {
                write!(f, " {} {count}", kind.name())?;
            }
            for (class, count) in &database.errors {
                write!(f, " error {} {count}", String::from_utf8_lossy(class))?;
            }
            writeln!(f)?;
        }
        for (reason, count) in Dropped::ALL.iter().zip(counters.dropped).filter(|(_, count)| *count > 0) {
            writeln!(f, "dropped {}: {count}", reason.name())?;
        }
        Ok(())
    }
}
