//! Finding clips: by the words of their captions, and by likeness of embeddings.
//!
//! Both work without an index, on rows that are not in it yet as well; an index makes them quick on
//! large tables. It is made on request ([`Store::index`]), not with the table: most tables have no
//! captions when they are made, and an index of nothing would only be in the way of commits.

use std::sync::Arc;

use arrow::{
    array::{AsArray as _, Float32Array, RecordBatch},
    datatypes::Float32Type,
};
use curate_schemas::{
    Clip, batch,
    columns::{CAPTION, CLIP_ID, CLIPS, EMBEDDING},
};
use lance::{
    Dataset,
    dataset::scanner::Scanner,
    index::{DatasetIndexExt as _, vector::VectorIndexParams},
};
use lance_index::{
    IndexType,
    scalar::{FullTextSearchQuery, InvertedIndexParams},
};
use lance_linalg::distance::MetricType;

use crate::{
    Pending, Result, Store, commit::is_conflict, error::At as _, gate::Gate, query::condition,
};

/// What to find.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// Captions with some of these words, the best first.
    Words(&'a str),
    /// Embeddings near this one, the nearest first. As long as the column is wide.
    Like(&'a [f32]),
}

/// Which clips to find, and what of them.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// What to find.
    pub wanted: Wanted<'a>,
    /// SQL that clips must pass besides.
    pub filter: Option<&'a str>,
    /// At most so many.
    pub limit: usize,
    /// The columns to give; `clip_id` is always among them.
    pub columns: &'a [&'a str],
}

/// A clip that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The columns that were asked for.
    pub clip: Clip,
    /// Of words the BM25 score, larger is better; of embeddings the cosine, 1 for the same direction.
    pub score: f32,
}

/// Below so many rows looking at each embedding is quick enough: 0.7 s for 100,000, where making an
/// index takes minutes.
const ROWS_FOR_VECTOR_INDEX: usize = 500_000;
/// Values of one code of the index; 768 is a multiple.
const VALUES_PER_CODE: usize = 16;

impl Store {
    /// Finds clips in the newest version.
    ///
    /// # Errors
    /// When the filter is wrong or the clips cannot be read.
    pub fn search<'a>(&'a self, search: Search<'a>) -> Pending<'a, Vec<Hit>> {
        Box::pin(async move {
            let path = self.layout().clips();
            let clips = self.latest_clips().await?;
            search.filter.map(condition).transpose()?;
            let scan = prepare(&clips, &search).at("search", &path)?;
            let found = scan.try_into_batch().await.at("search", &path)?;
            let rows = batch::to_rows(&CLIPS, &found).at("read", &path)?;
            let scores = scores(&found, &search.wanted);
            let clips = rows.into_iter().map(Clip::from_row);
            let hits =
                clips.zip(scores).filter_map(|(clip, score)| Some(Hit { clip: clip?, score }));
            let mut hits: Vec<Hit> = hits.collect();
            // Equal ones in one order, whatever the fragments.
            let id = |hit: &Hit| hit.clip.get(CLIP_ID).cloned();
            hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| id(a).cmp(&id(b))));
            Ok(hits)
        })
    }

    /// Makes the indices that searching uses, or brings them up to date. Whether there was any.
    ///
    /// # Errors
    /// When an index cannot be written.
    pub fn index(&self) -> Pending<'_, bool> {
        Box::pin(async move {
            let _gate = Gate::shared(self.layout()).await?;
            let captions = self.make_index(CAPTION.name()).await?;
            let embeddings = self.make_index(EMBEDDING.name()).await?;
            Ok(captions || embeddings)
        })
    }

    /// Makes the index of a column unless it is there, or there are too few values for one.
    async fn make_index(&self, column: &'static str) -> Result<bool> {
        let path = self.layout().clips();
        let is_vector = column == EMBEDDING.name();
        loop {
            let mut clips = self.latest_clips().await?;
            let known = clips.load_indices().await.at("list the indexes of", &path)?;
            let name = format!("{column}_search");
            if known.iter().any(|index| index.name == name) {
                return Ok(true);
            }
            let filter = format!("{column} is not null");
            let rows = clips.count_rows(Some(filter)).await.at("count", &path)?;
            if rows == 0 || (is_vector && rows < ROWS_FOR_VECTOR_INDEX) {
                return Ok(false);
            }
            let made = if is_vector {
                let lists = rows.isqrt().clamp(1, 4096);
                let codes = curate_schemas::columns::EMBEDDING_LEN as usize / VALUES_PER_CODE;
                let params = VectorIndexParams::ivf_pq(lists, 8, codes, MetricType::Cosine, 50);
                clips.create_index(&[column], IndexType::Vector, Some(name), &params, false).await
            } else {
                let params = InvertedIndexParams::default();
                clips.create_index(&[column], IndexType::Inverted, Some(name), &params, false).await
            };
            match made {
                Ok(_) => return Ok(true),
                // Another process made it, or committed meanwhile: look again.
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error).at("index", &path),
            }
        }
    }
}

fn prepare(clips: &Dataset, search: &Search<'_>) -> lance::Result<Scanner> {
    let mut scan = clips.scan();
    let mut columns = search.columns.to_vec();
    if !columns.contains(&CLIP_ID.name()) {
        columns.push(CLIP_ID.name());
    }
    scan.project(&columns)?;
    // The filter chooses among all clips, not among those that were found.
    scan.prefilter(true);
    if let Some(filter) = search.filter {
        scan.filter(filter)?;
    }
    match search.wanted {
        Wanted::Words(words) => {
            let query = FullTextSearchQuery::new(words.to_owned())
                .with_column(CAPTION.name().to_owned())?;
            scan.full_text_search(query)?;
            scan.limit(Some(i64::try_from(search.limit).unwrap_or(i64::MAX)), None)?;
        }
        Wanted::Like(vector) => {
            let vector = Arc::new(Float32Array::from(vector.to_vec()));
            scan.nearest(EMBEDDING.name(), vector.as_ref(), search.limit.max(1))?;
            scan.distance_metric(MetricType::Cosine);
            scan.refine(4);
        }
    }
    Ok(scan)
}

/// Lance's scores, so that larger is better.
fn scores(found: &RecordBatch, wanted: &Wanted<'_>) -> Vec<f32> {
    let column = |name: &str| {
        let values = found.column_by_name(name).and_then(|it| it.as_primitive_opt::<Float32Type>());
        values.map(|values| values.values().to_vec()).unwrap_or_default()
    };
    match wanted {
        Wanted::Words(_) => column("_score"),
        Wanted::Like(_) => column("_distance").into_iter().map(|far| 1.0 - far).collect(),
    }
}

#[cfg(test)]
mod tests {
    use curate_schemas::columns::EMBEDDING_LEN;

    use super::*;
    use crate::testing::{Table, clip};

    async fn table() -> Table {
        let table = Table::new().await;
        let captions = [
            "a dog runs over a meadow",
            "a cat sleeps",
            "two dogs and a cat, running",
            "Ein Hund läuft",
        ];
        let mut clips = Vec::new();
        for (number, caption) in (0..).zip(captions) {
            let mut embedding = vec![0.0; EMBEDDING_LEN as usize];
            embedding[number as usize] = 1.0;
            embedding[10] = 0.1;
            let clip = clip("full", 0, number)
                .with(CAPTION, caption.to_owned())
                .with(EMBEDDING, embedding);
            clips.push(clip);
        }
        clips.push(clip("full", 0, 9));
        table.add_clips(clips).await;
        table
    }

    fn search<'a>(wanted: Wanted<'a>, filter: Option<&'a str>) -> Search<'a> {
        Search { wanted, filter, limit: 3, columns: &["caption", "status"] }
    }

    fn captions(hits: &[Hit]) -> Vec<&str> {
        hits.iter().map(|hit| hit.clip.get(CAPTION).unwrap().as_str()).collect()
    }

    #[tokio::test]
    async fn words_are_found_with_and_without_an_index() {
        let table = table().await;
        for is_indexed in [false, true] {
            if is_indexed {
                assert!(table.store.index().await.unwrap());
            }
            let hits = table.store.search(search(Wanted::Words("dog run"), None)).await.unwrap();
            let found = captions(&hits);
            assert!(found.contains(&"a dog runs over a meadow"), "{is_indexed}: {found:?}");
            assert!(!found.contains(&"a cat sleeps"), "{is_indexed}: {found:?}");
            assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
            let only = Some("status = 'dropped'");
            let hits = table.store.search(search(Wanted::Words("cat"), only)).await.unwrap();
            assert_eq!(captions(&hits), ["two dogs and a cat, running"]);
            let none = table.store.search(search(Wanted::Words("zebra"), None)).await.unwrap();
            assert!(none.is_empty());
        }
        // Rows that came after the index.
        table.add("later", &[0]).await;
        let hits = table.store.search(search(Wanted::Words("meadow"), None)).await.unwrap();
        assert_eq!(hits.len(), 1);
    }

    #[tokio::test]
    async fn likeness_is_the_cosine_and_clips_without_an_embedding_are_left_out() {
        let table = table().await;
        let mut vector = vec![0.0; EMBEDDING_LEN as usize];
        vector[1] = 2.0;
        let hits = table.store.search(search(Wanted::Like(&vector), None)).await.unwrap();
        assert_eq!(captions(&hits)[0], "a cat sleeps");
        assert!((hits[0].score - 1.0 / 1.01_f32.sqrt()).abs() < 1e-5, "{}", hits[0].score);
        assert_eq!(hits.len(), 3);
        assert!(hits[1].score.abs() < 1e-5);
    }
}
