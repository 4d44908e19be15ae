//! The book of samples: what was measured of whom, one sample a round, and how they are summed up. It is the JSON file in
//! the out folder; tables, plots and verdicts are made from it and from nothing else.

use crate::place::Machine;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The file's name in the out folder.
pub(crate) const FILE: &str = "results.json";

/// Everything that was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Book {
    /// Where.
    pub(crate) machine: Machine,
    /// The day, as people write it.
    pub(crate) date: String,
    /// Subject (such as a server) → measure → one sample a round.
    samples: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    /// Facts that are no figures, by subject.
    facts: BTreeMap<String, BTreeMap<String, String>>,
}

impl Book {
    /// The book of an earlier run, or an empty one where there is none.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("could not understand \"{}\": remove it to begin anew", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("could not read \"{}\"", path.display())),
        }
    }

    /// Writes the JSON file.
    pub(crate) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(FILE);
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&path, text).with_context(|| format!("could not write \"{}\"", path.display()))
    }

    /// Takes out what is known of a subject: it is measured anew.
    pub(crate) fn forget(&mut self, subject: &str) {
        self.samples.remove(subject);
        self.facts.remove(subject);
    }

    /// One more sample.
    pub(crate) fn add(&mut self, subject: &str, measure: &str, value: f64) {
        let measures = self.samples.entry(subject.to_owned()).or_default();
        measures.entry(measure.to_owned()).or_default().push(value);
    }

    /// A fact in words; it replaces an older one.
    pub(crate) fn note(&mut self, subject: &str, name: &str, fact: impl Into<String>) {
        self.facts.entry(subject.to_owned()).or_default().insert(name.to_owned(), fact.into());
    }

    /// A fact.
    pub(crate) fn fact(&self, subject: &str, name: &str) -> Option<&str> {
        self.facts.get(subject)?.get(name).map(String::as_str)
    }

    /// All samples of one measure; none where it was not taken.
    pub(crate) fn samples(&self, subject: &str, measure: &str) -> &[f64] {
        self.samples.get(subject).and_then(|measures| measures.get(measure)).map_or(&[], Vec::as_slice)
    }

    /// The median of the rounds.
    pub(crate) fn median(&self, subject: &str, measure: &str) -> Option<f64> {
        median(self.samples(subject, measure))
    }

    /// The greatest of the rounds.
    pub(crate) fn max(&self, subject: &str, measure: &str) -> Option<f64> {
        self.samples(subject, measure).iter().copied().reduce(f64::max)
    }

    /// Half of the distance between the greatest and the smallest round, in parts of the median.
    pub(crate) fn spread(&self, subject: &str, measure: &str) -> Option<f64> {
        let samples = self.samples(subject, measure);
        let least = samples.iter().copied().reduce(f64::min)?;
        let most = samples.iter().copied().reduce(f64::max)?;
        let middle = median(samples)?;
        (samples.len() > 1 && middle > 0.0).then(|| (most - least) / 2.0 / middle)
    }

    /// The ratio of two medians.
    pub(crate) fn ratio(&self, over: (&str, &str), under: (&str, &str)) -> Option<f64> {
        let under = self.median(under.0, under.1).filter(|under| *under > 0.0)?;
        Some(self.median(over.0, over.1)? / under)
    }

    /// Every subject that has samples or facts.
    pub(crate) fn subjects(&self) -> BTreeSet<&str> {
        self.samples.keys().chain(self.facts.keys()).map(String::as_str).collect()
    }
}

/// The middle one, or the mean of the middle two.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_ignores_order_and_one_outlier() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[900.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn ratio_is_of_medians_and_needs_both() {
        let mut book = Book::default();
        for sample in [10.0, 12.0, 90.0] {
            book.add("ours", "rate", sample);
        }
        assert_eq!(book.ratio(("ours", "rate"), ("kea", "rate")), None);
        book.add("kea", "rate", 0.0);
        assert_eq!(book.ratio(("ours", "rate"), ("kea", "rate")), None);
        book.forget("kea");
        book.add("kea", "rate", 3.0);
        assert_eq!(book.ratio(("ours", "rate"), ("kea", "rate")), Some(4.0));
        assert_eq!(book.spread("kea", "rate"), None);
        assert_eq!(book.spread("ours", "rate"), Some(40.0 / 12.0));
    }

    #[test]
    fn saved_book_reads_back_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = Book::open(folder.path()).unwrap();
        assert!(book.subjects().is_empty());
        book.add("ours-2", "exchanges_w64", 1.5);
        book.note("kea", "missing", "not for this machine");
        book.save(folder.path()).unwrap();
        let again = Book::open(folder.path()).unwrap();
        assert_eq!(again.samples("ours-2", "exchanges_w64"), [1.5]);
        assert_eq!(again.fact("kea", "missing"), Some("not for this machine"));
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Book::open(folder.path()).unwrap_err().to_string().contains("remove it to begin anew"));
    }
}
