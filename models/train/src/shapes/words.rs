//! What scenes are made of. Each kind is a closed list, so that chance levels are known.

use serde::{Deserialize, Serialize};

/// Declares a list of words: the enum, all of its values, and their names.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$doc])* $value,)* }

        impl $name {
            /// All values, in a fixed order.
            pub const ALL: &[Self] = &[$(Self::$value,)*];

            /// The word for it in captions and columns.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$value => $word,)* }
            }

            /// One of them, each as likely as another.
            pub(super) fn draw(rng: &mut curate_ops::Rng) -> Self {
                super::scene::one_of(rng, Self::ALL)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            /// The value of this word; otherwise all words there are.
            fn from_str(word: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|value| value.word() == word).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|value| value.word()).collect();
                    format!("`{word}` is none of: {}", words.join(", "))
                })
            }
        }
    };
}

words! {
    /// What moves.
    Shape {
        /// A disc.
        Circle = "circle",
        /// A square with upright sides.
        Square = "square",
        /// An equilateral triangle that points up.
        Triangle = "triangle",
    }
}

words! {
    /// The colour of what moves: eight that stay apart from each other and from all backgrounds,
    /// also when blurred.
    Color {
        /// Red.
        Red = "red",
        /// Orange.
        Orange = "orange",
        /// Yellow.
        Yellow = "yellow",
        /// Green.
        Green = "green",
        /// Cyan.
        Cyan = "cyan",
        /// Blue.
        Blue = "blue",
        /// Purple.
        Purple = "purple",
        /// White.
        White = "white",
    }
}

words! {
    /// Where it moves.
    Direction {
        /// To the left.
        Left = "left",
        /// To the right.
        Right = "right",
        /// Up.
        Up = "up",
        /// Down.
        Down = "down",
    }
}

words! {
    /// How far it moves from frame to frame.
    Speed {
        /// 1.5 pixels of 64.
        Slow = "slow",
        /// 2.1 pixels of 64: the fastest at which the largest shape stays in view for 24 frames.
        Fast = "fast",
    }
}

words! {
    /// What is behind: darker than all that moves, so that every shape stands out in the same way.
    Background {
        /// Neutral.
        Charcoal = "charcoal",
        /// A little red.
        Brown = "brown",
        /// A little blue.
        Navy = "navy",
        /// A little green.
        Olive = "olive",
    }
}

impl Color {
    /// Red, green and blue (sRGB).
    #[must_use]
    pub const fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [222, 38, 42],
            Self::Orange => [245, 140, 20],
            Self::Yellow => [245, 228, 50],
            Self::Green => [40, 172, 62],
            Self::Cyan => [70, 214, 228],
            Self::Blue => [40, 74, 228],
            Self::Purple => [168, 52, 208],
            Self::White => [246, 246, 246],
        }
    }
}

impl Background {
    /// Red, green and blue (sRGB).
    #[must_use]
    pub const fn rgb(self) -> [u8; 3] {
        match self {
            Self::Charcoal => [46, 46, 46],
            Self::Brown => [52, 38, 30],
            Self::Navy => [28, 38, 62],
            Self::Olive => [42, 48, 26],
        }
    }
}

impl Speed {
    /// Sides of the picture per frame.
    #[must_use]
    pub const fn sides_per_frame(self) -> f64 {
        match self {
            Self::Slow => 1.5 / 64.0,
            Self::Fast => 2.1 / 64.0,
        }
    }
}

impl Direction {
    /// One step to the right and down.
    #[must_use]
    pub const fn step(self) -> [f64; 2] {
        match self {
            Self::Left => [-1.0, 0.0],
            Self::Right => [1.0, 0.0],
            Self::Up => [0.0, -1.0],
            Self::Down => [0.0, 1.0],
        }
    }
}
