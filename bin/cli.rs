//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use curate_train::shapes::Color;

use crate::commands::{BucketsArgs, EncodeArgs, GenerateArgs, Train};

/// Turn raw video into a training set for text-to-video models.
#[derive(Debug, Parser)]
#[command(name = "curate", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a recipe; running it again resumes.
    Run {
        /// The recipe, such as pipeline.toml.
        recipe: PathBuf,
        /// Read at most this many sources. They are counted before `--shard` takes its share of their
        /// units: a source is of no share, as its units go to several.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        /// Do only share I of N, as `0/3`; the shares need no coordinator.
        #[arg(long, value_parser = parse_shard)]
        shard: Option<(u32, u32)>,
        /// Try units again that failed, are partial or were quarantined.
        #[arg(long, value_enum)]
        retry: Option<Retry>,
        /// Measure again, on clips that are in the table, what the recipe measures otherwise, and
        /// fill in what clips lack that a moved threshold let in.
        #[arg(long)]
        backfill: bool,
        /// Which thresholds count when the recipe's differ from the table's.
        #[arg(long, value_enum)]
        judge: Option<JudgeBy>,
    },
    /// Check a recipe and print its plan, without running it.
    Check {
        /// The recipe.
        recipe: PathBuf,
    },
    /// Say what a table holds.
    Status {
        /// The table's folder.
        out: PathBuf,
    },
    /// Ask a table with SQL (tables `clips` and `units`).
    Query {
        /// The table's folder.
        out: PathBuf,
        /// The statement.
        sql: String,
        /// How to print the answer.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
        /// A version of the clips to read instead of the newest, by number or tag.
        #[arg(long)]
        version: Option<String>,
        /// Where to write the answer (needed for Parquet).
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Print the tables' columns, or what a recipe may say.
    Schema {
        /// As the page docs/COLUMNS.md.
        #[arg(long)]
        markdown: bool,
        /// What a recipe may say, as a JSON Schema (draft 2020-12) for editors.
        #[arg(long, conflicts_with = "markdown")]
        recipe: bool,
    },
    /// Finish what runs that died had staged.
    Recover {
        /// The table's folder.
        out: PathBuf,
    },
    /// Delete old versions and files that nothing refers to.
    Gc {
        /// The table's folder.
        out: PathBuf,
    },
    /// Write a commented example recipe.
    Init {
        /// Where to write it.
        #[arg(default_value = "pipeline.toml")]
        recipe: PathBuf,
    },
    /// Run the default recipe on one video and show what becomes of it; leaves no table.
    Try {
        /// The video.
        video: PathBuf,
        /// Where to put the contact sheet; default: the video's name with `.sheet.jpg`, here.
        #[arg(long)]
        sheet: Option<PathBuf>,
    },
    /// Measure what a recipe would cost on a few of its sources, and estimate time and size.
    Plan {
        /// The recipe.
        recipe: PathBuf,
        /// How many sources are looked at, spread over all of them.
        #[arg(long, default_value_t = 8)]
        sources: u64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check this machine: libraries, codecs, models, memory and disk, and what to do about what is
    /// missing.
    Doctor {
        /// A table's folder, or a recipe; default: this folder and the default recipe.
        target: Option<PathBuf>,
        /// Print a JSON object for each line.
        #[arg(long)]
        json: bool,
    },
    /// See, fetch and check models.
    Models {
        #[command(subcommand)]
        command: Models,
    },
    /// Show every value of a clip against its threshold.
    Why {
        /// The table's folder.
        out: PathBuf,
        /// The clip's id.
        clip_id: String,
        /// A recipe whose thresholds to use instead of the table's.
        #[arg(long)]
        recipe: Option<PathBuf>,
    },
    /// Show clips on a contact sheet: kept ones in green, the others in red with their reasons.
    Sheet {
        /// The table's folder.
        out: PathBuf,
        /// Which clips, as an SQL condition such as `drop_stage = 'motion'`.
        #[arg(long = "where", value_name = "SQL")]
        filter: Option<String>,
        /// In which order, in SQL.
        #[arg(long = "order-by", value_name = "SQL", default_value = "source_uri, start_pts")]
        order: String,
        /// At most so many.
        #[arg(long, default_value = "60", value_parser = clap::value_parser!(u32).range(1..=600))]
        limit: u32,
        /// Where to write it; default: `sheet.jpg` in the table's folder.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Write a page for a browser, in one file: what was kept and why, histograms with thresholds to try,
    /// clips with their captions.
    Report {
        /// The table's folder.
        out: PathBuf,
        /// Where to write it; default: `report.html` in the table's folder.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Move thresholds: judge every clip again from its measured values.
    ///
    /// No video is read and no model runs; only verdicts are written, in one new version.
    Refilter {
        /// The table's folder.
        out: PathBuf,
        /// A threshold, such as `motion.min=0.03`; `none` takes it away. May be given again.
        #[arg(long, value_name = "STAGE.SETTING=VALUE")]
        set: Vec<String>,
        /// Only show what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write the spans of clips, kept or not, as cut lists: one for each source.
    ///
    /// PySceneDetect reads them, editing programs do, and so does the split with
    /// `detectors = [{ kind = "list" }]`.
    Cuts {
        /// The table's folder.
        out: PathBuf,
        /// In which form.
        #[arg(long, value_enum, default_value = "csv")]
        format: CutFormat,
        /// Only one source, by its URI, its path or its id.
        #[arg(long, value_name = "URI_OR_ID")]
        source: Option<String>,
        /// The folder to write them into; default, for one source: standard output.
        #[arg(long, short, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
    /// Write a clip's file.
    Extract {
        /// The table's folder.
        out: PathBuf,
        /// The clip's id.
        clip_id: String,
        /// Where to write it (`-`: standard output); default: the id with the right ending, here.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Find clips by the words of their captions, or by likeness to a clip.
    Search {
        /// The table's folder.
        out: PathBuf,
        /// Words of captions; clips with some of them are found, the best first.
        words: Vec<String>,
        /// A clip whose like are wanted, by its embedding.
        #[arg(long, value_name = "CLIP_ID", conflicts_with = "words")]
        like: Option<String>,
        /// Only clips that pass this SQL condition, such as `status = 'kept'`.
        #[arg(long = "where", value_name = "SQL")]
        filter: Option<String>,
        /// At most so many.
        #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Print a JSON object for each clip.
        #[arg(long)]
        json: bool,
    },
    /// Spell out short prompts for generation, by a language model behind a server.
    Prompt {
        /// The prompt; without one, each line of standard input is.
        words: Vec<String>,
        /// The server's address, up to `/v1`.
        #[arg(long, value_name = "URL")]
        endpoint: String,
        /// The model's name as the server knows it.
        #[arg(long)]
        model: String,
        /// The environment variable that holds the server's key.
        #[arg(long, value_name = "NAME")]
        api_key_env: Option<String>,
        /// A file with rules of your own; `{caption}` in it marks where the prompt goes.
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
    },
    /// Make a set of clips whose captions are known to be right, prompts of the same kind, and score
    /// what a model makes of them.
    Synth {
        #[command(subcommand)]
        command: Synth,
    },
    /// Make videos and pictures of prompts with a trained model.
    #[command(args_override_self = true)]
    Generate(Box<GenerateArgs>),
    /// Train from the table: the VAE, the transformer, or adapters beside it.
    Train {
        #[command(subcommand)]
        command: Train,
    },
    /// Show what a training run would read: rows of each bucket, what is left out and why, batch sizes.
    Buckets(Box<BucketsArgs>),
    /// Make latents and text embeddings once and keep them in the table; clips' bytes stay as they are.
    ///
    /// Doing it again does what is missing, after Ctrl-C too. Training runs with the same VAE, text encoder
    /// and size use them.
    Encode(Box<EncodeArgs>),
    /// Make the indices that `search` uses, or bring them up to date.
    Index {
        /// The table's folder.
        out: PathBuf,
    },
    /// List the versions of a table that can be read, with their tags.
    Versions {
        /// The table's folder.
        out: PathBuf,
    },
    /// Name a version, so that `gc` keeps it; a tag that is there already is moved.
    Tag {
        /// The table's folder.
        out: PathBuf,
        /// The name: letters, digits, `.`, `-`, `_`.
        name: String,
        /// The version; default: the newest.
        #[arg(long, conflicts_with = "delete")]
        version: Option<u64>,
        /// Take the name away.
        #[arg(long)]
        delete: bool,
    },
    /// Make the table what it was in a version, as a new version.
    Restore {
        /// The table's folder.
        out: PathBuf,
        /// The version's number or tag.
        version: String,
    },
    /// Compare two tables, or two versions of one (`OUT@7`, `OUT@tag`).
    Diff {
        /// The one side.
        a: String,
        /// The other side.
        b: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write clips in a form that other programs read; an export that was stopped goes on.
    Export {
        /// The table's folder.
        out: PathBuf,
        /// The folder to write into.
        folder: PathBuf,
        /// In which form.
        #[arg(long, value_enum)]
        format: ExportForm,
        /// Which clips, as an SQL condition.
        #[arg(long = "where", value_name = "SQL", default_value = "status = 'kept'")]
        filter: String,
        /// A version instead of the newest, by number or tag.
        #[arg(long)]
        version: Option<String>,
        /// Size of a shard (WebDataset, Parquet), in MiB of clips.
        #[arg(long, default_value = "512", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        shard_mib: u64,
    },
    /// Print what completes this command line in a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// List every model there is and whether it is there.
    List,
    /// Fetch models; what is there already stays.
    Pull {
        /// Models by id, `default` (what the default stages need), or `all`.
        #[arg(default_value = "default")]
        names: Vec<String>,
    },
    /// Check the files of models against their checksums.
    Verify {
        /// Models as for `pull`; without any, `default` and everything that is there.
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Synth {
    /// Write clips of moving shapes and a manifest that a recipe can name as its input.
    Shapes {
        /// The folder; a set that is whole already is left as it is.
        out: PathBuf,
        /// How many clips.
        #[arg(long, default_value_t = 512)]
        count: u32,
        /// What they are drawn by: a number, or `random`.
        #[arg(long, default_value = "1")]
        seed: Seed,
        /// Both sides of a picture in pixels.
        #[arg(long, default_value_t = 64)]
        size: u32,
        /// Frames of a clip.
        #[arg(long, default_value_t = 16)]
        frames: u32,
        /// Frames per second.
        #[arg(long, default_value_t = 8)]
        fps: u32,
        /// Give all shapes this colour.
        #[arg(long, value_name = "COLOR")]
        only_color: Option<Color>,
    },
    /// Draw prompts for `generate`, with what they ask for.
    Prompts {
        /// The file (JSON lines); one that is there is replaced.
        file: PathBuf,
        /// How many prompts.
        #[arg(long, default_value_t = 64)]
        count: u32,
        /// What they are drawn by: a number, or `random`.
        #[arg(long, default_value = "random")]
        seed: Seed,
    },
    /// Say in how many clips the direction and the colour asked for are to be seen.
    Score {
        /// The folder of the clips; the last number in a name says of which prompt it is, from 0.
        folder: PathBuf,
        /// The prompts they were made from, or the manifest of a set.
        #[arg(long, value_name = "FILE")]
        prompts: PathBuf,
        /// Where to put a contact sheet (JPEG): right ones in green, wrong ones in red.
        #[arg(long, value_name = "FILE")]
        sheet: Option<PathBuf>,
        /// Print JSON, with every clip.
        #[arg(long)]
        json: bool,
    },
}

/// What random numbers follow from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seed {
    Random,
    Of(u64),
}

impl std::str::FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "random" {
            return Ok(Self::Random);
        }
        text.parse().map(Self::Of).map_err(|_bad| "give a number, or `random`".to_owned())
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Retry {
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum JudgeBy {
    /// The table's thresholds count for new clips, whatever the recipe says.
    Table,
    /// The recipe's thresholds count for new clips and become the table's.
    File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Csv,
    Json,
    Parquet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// Tar shards, for webdataset.
    Webdataset,
    /// A file for each clip and its caption, and the rows.
    Folder,
    /// A file for each clip, and the list that EasyAnimate's trainer reads.
    Easyanimate,
    /// Parquet files with the clips in them, for Hugging Face datasets.
    Parquet,
    /// The rows, without clips.
    Csv,
    /// The rows, without clips.
    Jsonl,
}

impl ExportForm {
    /// Whether the clips' bytes are exported.
    pub(crate) const fn has_bytes(self) -> bool {
        !matches!(self, Self::Csv | Self::Jsonl)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CutFormat {
    /// As PySceneDetect's `list-scenes` writes it: exact.
    Csv,
    /// CMX 3600, in whole frames of a constant rate.
    Edl,
}

fn parse_shard(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("`{text}` is not a share: write it like 0/3");
    let (index, count) = text.split_once('/').ok_or_else(wrong)?;
    let (index, count) =
        (index.parse().map_err(|_bad| wrong())?, count.parse().map_err(|_bad| wrong())?);
    if index < count {
        Ok((index, count))
    } else {
        Err(format!("{wrong}: the first number counts from 0", wrong = wrong()))
    }
}
