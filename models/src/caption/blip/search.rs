//! From scores of the next token to a caption: the best token each time, or several texts side by
//! side.
//!
//! Both do what `generate` of transformers does without sampling, down to where a penalty comes in
//! (on scores as they are for one text, on logarithms of probabilities for several) and when a
//! search of several texts gives up: published captions were made by it. Of equal scores the lower
//! token counts.
//!
//! Decided against sampling, which the authors offer for making training data: captions of one clip
//! would then differ from run to run.

use candle_core::Result;

use super::error::SearchProblem;

/// How a caption is searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// Texts side by side; 1 takes the best token each time.
    pub beams: usize,
    /// The longest caption in tokens, with the marks of the beginning and the end and the prompt.
    pub max_length: usize,
    /// The shortest, counted in the same way: before, it does not end.
    pub min_length: usize,
    /// What scores of tokens that were said are divided by, or multiplied with below zero (Keskar
    /// and others 2019, arXiv 1909.05858); 1 changes nothing.
    pub repetition_penalty: f32,
    /// With several beams, scores of whole texts are divided by their length to this power: above 0
    /// longer texts are preferred, 0 adds probabilities alone.
    pub length_penalty: f32,
}

impl Default for Search {
    /// What the published configurations of both captioners say: the best token each time, 20
    /// tokens.
    fn default() -> Self {
        Self {
            beams: 1,
            max_length: 20,
            min_length: 0,
            repetition_penalty: 1.0,
            length_penalty: 1.0,
        }
    }
}

impl Search {
    /// What the authors evaluate captions with (`configs/caption_coco.yaml` of `salesforce/BLIP`):
    /// three texts side by side, 5 to 20 tokens. Theirs begin with `a picture of`, which is the
    /// prompt of [`super::BlipOptions`].
    pub const AUTHORS: Self = Self {
        beams: 3,
        max_length: 20,
        min_length: 5,
        repetition_penalty: 1.0,
        length_penalty: 1.0,
    };

    pub(super) fn check(
        &self,
        prompt: usize,
        places: usize,
        vocabulary: usize,
    ) -> std::result::Result<(), SearchProblem> {
        // Twice as many texts as beams are looked at.
        let (beams, most, length) = (self.beams, vocabulary / 2, self.max_length);
        if beams == 0 || beams > most {
            return Err(SearchProblem::Beams { beams, most });
        }
        if length <= prompt || length > places {
            return Err(SearchProblem::Length { length, prompt, places });
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return Err(SearchProblem::Penalty(self.repetition_penalty));
        }
        if !self.length_penalty.is_finite() {
            return Err(SearchProblem::Preference(self.length_penalty));
        }
        Ok(())
    }

    /// Continues a prompt until `end` is said or the caption is long enough.
    ///
    /// `say` is told which of the texts of the last time go on, and tokens that follow them, as
    /// many for each; it answers with scores of the next token for each. The result begins with the
    /// prompt.
    pub(super) fn run(&self, prompt: &[u32], end: u32, say: &mut Say<'_>) -> Result<Vec<u32>> {
        match self.beams {
            1 => self.best_token(prompt, end, say),
            _ => self.best_text(prompt, end, say),
        }
    }

    fn best_token(&self, prompt: &[u32], end: u32, say: &mut Say<'_>) -> Result<Vec<u32>> {
        let mut text = prompt.to_vec();
        let mut scores = say(&[0], prompt)?;
        loop {
            let row = &mut scores[0];
            self.adjust(row, &text, end);
            let best =
                row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (token, score)| {
                    if *score > best.1 { (token, *score) } else { best }
                });
            let token = best.0 as u32;
            text.push(token);
            if token == end || text.len() >= self.max_length {
                return Ok(text);
            }
            scores = say(&[0], &[token])?;
        }
    }

    fn best_text(&self, prompt: &[u32], end: u32, say: &mut Say<'_>) -> Result<Vec<u32>> {
        let beams = self.beams;
        let first = |beam: usize| Text {
            tokens: prompt.to_vec(),
            // All begin alike: only the first may be continued.
            score: if beam == 0 { 0.0 } else { NEVER },
        };
        let mut running: Vec<Text> = (0..beams).map(first).collect();
        let mut ended: Vec<Ended> = (0..beams)
            .map(|_| Ended {
                text: Text { tokens: prompt.to_vec(), score: NEVER },
                is_whole: false,
            })
            .collect();
        let first = say(&[0], prompt)?;
        let mut scores = vec![first[0].clone(); beams];
        let mut parents = vec![0; beams];
        loop {
            let next = self.continuations(&running, &mut scores, end);
            let is_over: Vec<bool> = next
                .iter()
                .map(|(text, _)| {
                    text.tokens.last() == Some(&end) || text.tokens.len() >= self.max_length
                })
                .collect();

            let mut going: Vec<(Text, u32)> = next.clone();
            for ((text, _), is_over) in going.iter_mut().zip(&is_over) {
                text.score += if *is_over { NEVER } else { 0.0 };
            }
            going.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score));
            going.truncate(beams);

            let said = next[0].0.tokens.len() - prompt.len();
            for (place, ((mut text, _), is_over)) in next.into_iter().zip(&is_over).enumerate() {
                // Those below the first beams are there to go on with, should better ones end.
                let is_whole = *is_over && place < beams;
                text.score = text.score / (said as f32).powf(self.length_penalty)
                    + if is_whole { 0.0 } else { NEVER };
                ended.push(Ended { text, is_whole });
            }
            ended.sort_by(|a, b| b.text.score.total_cmp(&a.text.score));
            ended.truncate(beams);

            let hope = going[0].0.score / (said as f32).powf(self.length_penalty);
            let worst = ended[beams - 1].text.score;
            let is_better =
                ended.iter().any(|ended| hope > if ended.is_whole { worst } else { NEVER });
            if !is_better || is_over.iter().all(|is_over| *is_over) {
                return Ok(ended.swap_remove(0).text.tokens);
            }
            // The first time, all texts come from the one that was said.
            let is_first = said == 1;
            let tokens: Vec<u32> =
                going.iter().filter_map(|(text, _)| text.tokens.last().copied()).collect();
            parents.clear();
            parents.extend(going.iter().map(|(_, parent)| if is_first { 0 } else { *parent }));
            running = going.into_iter().map(|(text, _)| text).collect();
            scores = say(&parents, &tokens)?;
        }
    }

    /// The best texts that are one token longer, twice as many as beams, the best first, and which
    /// text each one continues.
    fn continuations(
        &self,
        running: &[Text],
        scores: &mut [Vec<f32>],
        end: u32,
    ) -> Vec<(Text, u32)> {
        let mut all = Vec::new();
        for (beam, (text, row)) in running.iter().zip(scores).enumerate() {
            log_probabilities(row);
            self.adjust(row, &text.tokens, end);
            let longer = row.iter().enumerate();
            all.extend(longer.map(|(token, score)| (score + text.score, beam, token as u32)));
        }
        let wanted = (2 * self.beams).min(all.len());
        let better = |a: &(f32, usize, u32), b: &(f32, usize, u32)| {
            b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
        };
        if wanted < all.len() {
            all.select_nth_unstable_by(wanted, better);
            all.truncate(wanted);
        }
        all.sort_by(better);
        let text = |(score, beam, token): (f32, usize, u32)| {
            let mut tokens = running[beam].tokens.clone();
            tokens.push(token);
            (Text { tokens, score }, beam as u32)
        };
        all.into_iter().map(text).collect()
    }

    /// The penalty on what was said, and no end before its time.
    fn adjust(&self, row: &mut [f32], said: &[u32], end: u32) {
        let mut said_once = said.to_vec();
        said_once.sort_unstable();
        said_once.dedup();
        for token in said_once {
            let score = &mut row[token as usize];
            *score = if *score < 0.0 {
                *score * self.repetition_penalty
            } else {
                *score / self.repetition_penalty
            };
        }
        if said.len() < self.min_length {
            row[end as usize] = f32::NEG_INFINITY;
        }
    }
}

/// See [`Search::run`].
pub(super) type Say<'a> = dyn FnMut(&[u32], &[u32]) -> Result<Vec<Vec<f32>>> + 'a;

/// The score of what must not be chosen. Not infinite: such texts are still told apart.
const NEVER: f32 = -1e9;

#[derive(Clone, Debug)]
struct Text {
    tokens: Vec<u32>,
    score: f32,
}

/// A text that has come to its end, or stands in for one.
#[derive(Clone, Debug)]
struct Ended {
    text: Text,
    is_whole: bool,
}

/// Scores to logarithms of probabilities.
fn log_probabilities(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = row.iter().map(|score| (score - largest).exp()).sum();
    let log = sum.ln();
    row.iter_mut().for_each(|score| *score = *score - largest - log);
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u32 = 3;
    /// Probabilities of the next token by the last one.
    const NEXT: [[f32; 4]; 4] = [
        [0.05, 0.5, 0.4, 0.05],
        [0.3, 0.3, 0.2, 0.2],
        [0.03, 0.04, 0.03, 0.9],
        [0.25, 0.25, 0.25, 0.25],
    ];

    /// A language of four words in which the next one depends on the last alone; it also checks
    /// that the texts it is asked to continue are those that it was told.
    fn captions(search: &Search) -> Vec<u32> {
        let mut texts: Vec<Vec<u32>> = vec![Vec::new()];
        let mut say = |parents: &[u32], tokens: &[u32]| {
            let each = tokens.len() / parents.len();
            let longer = parents
                .iter()
                .zip(tokens.chunks(each))
                .map(|(parent, tokens)| [texts[*parent as usize].as_slice(), tokens].concat());
            texts = longer.collect();
            let last = |text: &Vec<u32>| NEXT[*text.last().unwrap() as usize].map(f32::ln).to_vec();
            Ok(texts.iter().map(last).collect())
        };
        search.run(&[0], END, &mut say).unwrap()
    }

    #[test]
    fn several_texts_find_what_one_misses() {
        let search = Search { max_length: 6, length_penalty: 0.0, ..Search::default() };
        assert_eq!(captions(&search)[..2], [0, 1], "the likelier word leads to nothing");
        assert_eq!(captions(&Search { beams: 2, ..search }), [0, 2, 3]);
    }

    /// As many beams as there are texts: the search must find the likeliest of all.
    #[test]
    fn enough_texts_find_the_best_of_all() {
        for (max_length, min_length) in [(2, 0), (3, 0), (4, 0), (4, 3), (4, 4)] {
            let mut best = (f32::NEG_INFINITY, Vec::new());
            let mut open = vec![(0.0, vec![0_u32])];
            while let Some((score, text)) = open.pop() {
                let last = *text.last().unwrap();
                let is_whole = text.len() > 1 && last == END || text.len() == max_length;
                if is_whole && score > best.0 {
                    best = (score, text.clone());
                }
                for token in (0..4).filter(|_| !is_whole) {
                    if token != END || text.len() >= min_length {
                        let score = score + NEXT[last as usize][token as usize].ln();
                        open.push((score, [text.as_slice(), &[token]].concat()));
                    }
                }
            }
            let search = Search {
                beams: 64,
                max_length,
                min_length,
                length_penalty: 0.0,
                ..Search::default()
            };
            assert_eq!(captions(&search), best.1, "{max_length} {min_length}");
        }
    }

    #[test]
    fn what_was_said_is_said_less_and_ends_wait() {
        let search = Search { max_length: 9, ..Search::default() };
        assert_eq!(captions(&search), [0, 1, 0, 1, 0, 1, 0, 1, 0]);
        let varied = captions(&Search { repetition_penalty: 2.0, ..search });
        assert_eq!(varied, [0, 1, 2, 3]);
        let longer = captions(&Search { repetition_penalty: 2.0, min_length: 5, ..search });
        assert!(longer.len() > 5 && !longer[..5].contains(&END), "{longer:?}");
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        let check = |search: Search| search.check(4, 512, 30_524).unwrap_err().to_string();
        let plain = Search::default();
        assert_eq!(plain.check(4, 512, 30_524), Ok(()));
        assert!(check(Search { beams: 0, ..plain }).contains("beams is 0"));
        assert!(check(Search { max_length: 4, ..plain }).contains("4 tokens"));
        assert!(check(Search { max_length: 513, ..plain }).contains("at most 512"));
        assert!(check(Search { repetition_penalty: 0.0, ..plain }).contains("above 0"));
        assert!(check(Search { length_penalty: f32::NAN, ..plain }).contains("NaN"));
    }
}
