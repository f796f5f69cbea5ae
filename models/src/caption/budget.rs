//! What a run may cost, in tokens and in money, and a clean stop before it costs more.
//!
//! What a request will cost is known only afterwards. So before it is sent, the most that it may cost
//! is set aside (its longest answer, and as many tokens of input as such requests have taken so far),
//! and afterwards the real cost is taken and the rest given back. When the money that is left does not
//! reach for one more request, and none is under way that may give some back, the budget is spent.
//!
//! A request whose answer got lost counts as what was set aside: the server may have worked on it.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::Usage;

/// Prices in money per million tokens, in whatever currency the budget is in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// Of a million tokens that the model reads.
    pub prompt: f64,
    /// Of a million tokens that it writes.
    pub completion: f64,
}

impl Price {
    fn of(&self, usage: Usage) -> f64 {
        (self.prompt * usage.prompt as f64 + self.completion * usage.completion as f64) / 1e6
    }
}

/// Limits of a run; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// The most tokens, read and written.
    pub tokens: Option<u64>,
    /// The most money. Needs a price.
    pub money: Option<f64>,
    /// What tokens cost.
    pub price: Price,
    /// What was spent before this run, where the limits are for several.
    pub spent: Spent,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Tokens, read and written.
    pub tokens: u64,
    /// Money.
    pub money: f64,
}

/// The budget does not reach for another request.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub struct BudgetSpent {
    /// What was spent.
    pub spent: Spent,
    /// The limit in tokens.
    pub tokens: Option<u64>,
    /// The limit in money.
    pub money: Option<f64>,
}

impl fmt::Display for BudgetSpent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the budget for captions is spent: {} ", self.spent.tokens)?;
        if let Some(limit) = self.tokens {
            write!(f, "of {limit} ")?;
        }
        write!(f, "tokens")?;
        if let Some(limit) = self.money {
            write!(f, ", {:.4} of {limit:.4} in money", self.spent.money)?;
        }
        write!(f, "; raise it and run again, what was answered so far is kept")
    }
}

#[derive(Debug, Default)]
struct State {
    spent: Spent,
    held: Spent,
    holds: usize,
    /// The most input a request has taken.
    most_prompt: u64,
}

/// The purse of a run.
pub(super) struct Purse {
    budget: Budget,
    state: Mutex<State>,
    changed: Notify,
}

impl Purse {
    pub(super) fn new(budget: Budget) -> Self {
        let state = State { spent: budget.spent, ..State::default() };
        Self { budget, state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spent(&self) -> Spent {
        self.state().spent
    }

    /// Sets aside what a request may cost, waiting for others to give back if need be.
    pub(super) async fn hold(&self, guess: Usage) -> Result<Hold<'_>, BudgetSpent> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(hold) = self.try_hold(guess)? {
                return Ok(hold);
            }
            changed.await;
        }
    }

    fn try_hold(&self, guess: Usage) -> Result<Option<Hold<'_>>, BudgetSpent> {
        let mut state = self.state();
        let usage = Usage { prompt: guess.prompt.max(state.most_prompt), ..guess };
        let cost = self.cost(usage);
        let tokens = state.spent.tokens + state.held.tokens + cost.tokens;
        let money = state.spent.money + state.held.money + cost.money;
        let reaches = self.budget.tokens.is_none_or(|limit| tokens <= limit)
            && self.budget.money.is_none_or(|limit| money <= limit);
        if reaches {
            state.held.tokens += cost.tokens;
            state.held.money += cost.money;
            state.holds += 1;
            return Ok(Some(Hold { purse: self, cost, is_sent: false }));
        }
        if state.holds > 0 {
            return Ok(None);
        }
        let Budget { tokens, money, .. } = self.budget;
        Err(BudgetSpent { spent: state.spent, tokens, money })
    }

    fn cost(&self, usage: Usage) -> Spent {
        Spent { tokens: usage.prompt + usage.completion, money: self.budget.price.of(usage) }
    }
}

/// Money set aside. Dropped before [`Hold::sent`], all of it goes back; after it, none.
pub(super) struct Hold<'a> {
    purse: &'a Purse,
    cost: Spent,
    is_sent: bool,
}

impl Hold<'_> {
    /// The request is on its way: unless something else is learnt, it costs what was set aside.
    pub(super) fn sent(&mut self) {
        self.is_sent = true;
    }

    /// The server did nothing for it.
    pub(super) fn free(mut self) {
        self.is_sent = false;
    }

    /// It cost this; without a word about it, what was set aside.
    pub(super) fn settle(mut self, usage: Option<Usage>) {
        if let Some(usage) = usage {
            let mut state = self.purse.state();
            state.most_prompt = state.most_prompt.max(usage.prompt);
            state.spent.tokens += usage.prompt + usage.completion;
            state.spent.money += self.purse.budget.price.of(usage);
            self.is_sent = false;
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut state = self.purse.state();
        state.holds -= 1;
        state.held.tokens -= self.cost.tokens;
        state.held.money -= self.cost.money;
        if self.is_sent {
            state.spent.tokens += self.cost.tokens;
            state.spent.money += self.cost.money;
        }
        drop(state);
        self.purse.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt: u64, completion: u64) -> Usage {
        Usage { prompt, completion }
    }

    #[test]
    fn what_is_set_aside_is_settled_or_given_back() {
        let budget = Budget { tokens: Some(100), ..Budget::default() };
        let purse = Purse::new(budget);
        let mut first = purse.try_hold(usage(30, 30)).unwrap().unwrap();
        first.sent();
        assert!(purse.try_hold(usage(30, 30)).unwrap().is_none(), "one must wait for the first");
        first.settle(Some(usage(20, 10)));
        assert_eq!(purse.spent().tokens, 30);
        let unsent = purse.try_hold(usage(30, 30)).unwrap().unwrap();
        drop(unsent);
        assert_eq!(purse.spent().tokens, 30);
        let mut lost = purse.try_hold(usage(10, 40)).unwrap().unwrap();
        lost.sent();
        drop(lost);
        // At least what the largest input so far took is set aside: 20, not 10.
        assert_eq!(purse.spent().tokens, 90);
        let error = purse.try_hold(usage(5, 5)).err().unwrap();
        assert_eq!((error.spent.tokens, error.tokens), (90, Some(100)));
        let text = error.to_string();
        assert!(text.contains("90 of 100 tokens") && text.contains("run again"), "{text}");
    }

    #[test]
    fn money_counts_by_price_and_across_runs() {
        let price = Price { prompt: 2.0, completion: 10.0 };
        let spent = Spent { tokens: 5, money: 0.5 };
        let purse = Purse::new(Budget { money: Some(1.0), price, spent, ..Budget::default() });
        let mut hold = purse.try_hold(usage(100_000, 10_000)).unwrap().unwrap();
        hold.sent();
        hold.settle(Some(usage(100_000, 10_000)));
        assert!((purse.spent().money - 0.8).abs() < 1e-9);
        let error = purse.try_hold(usage(100_000, 10_000)).err().unwrap();
        assert!(error.to_string().contains("0.8000 of 1.0000 in money"), "{error}");
        purse.try_hold(usage(0, 10_000)).err().unwrap();
        assert!(Purse::new(Budget::default()).try_hold(usage(1 << 40, 0)).is_ok());
    }
}
