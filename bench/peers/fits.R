# Rscript fits.R data.csv factors call budget [first column of new responses]
#
# Reads the data, evaluates the call again and again (once when the budget is 0) and prints lines
# "key value value ...". A call names its package (lme4::glmer), so that loading it is part of the
# process and of the first fit, as in a user's script, but not of the repetitions.
args <- commandArgs(trailingOnly = TRUE)
d <- read.csv(args[1], check.names = FALSE, stringsAsFactors = FALSE)
for (name in strsplit(args[2], ",", fixed = TRUE)[[1]]) d[[name]] <- factor(d[[name]])
call <- parse(text = args[3])[[1]]
budget <- as.numeric(args[4])

# glmer with more than one node leaves out the log-likelihood of the saturated model.
saturated <- function(m) {
  if (!inherits(m, "glmerMod") || m@devcomp$dims[["nAGQ"]] < 2) return(0)
  n <- weights(m, type = "prior")
  k <- round(m@resp$y * n)
  sum(dbinom(k, n, k / n, log = TRUE))
}
# What is compared: the log-likelihood; of a PQL fit, which has none, the residual scale.
number <- function(m) {
  if (inherits(m, "glmmPQL")) m$sigma else as.numeric(logLik(m)) + saturated(m)
}
compared <- function(m) if (inherits(m, "glmmPQL")) "scale" else "loglik"
clock <- function(expression) {
  began <- Sys.time()
  force(expression)
  as.numeric(difftime(Sys.time(), began, units = "secs"))
}
say <- function(key, values) cat(key, format(values, digits = 15), "\n")

quiet <- function(expression) suppressMessages(suppressWarnings(expression))
say("first", clock(m <- quiet(eval(call))))
fit <- function(i) quiet(eval(call))
if (length(args) > 4) {
  columns <- grep(args[5], names(d))
  size <- d$size
  fit <- function(i) {
    y <- d[[columns[(i - 1) %% length(columns) + 1]]]
    if (inherits(m, "merMod")) return(quiet(lme4::refit(m, cbind(y, size - y))))
    d$incidence <<- y
    quiet(eval(call))
  }
  say(compared(m), sapply(seq_along(columns), function(i) number(fit(i))))
} else {
  say(compared(m), number(m))
}
seconds <- c()
while (budget > 0 && length(seconds) < 50 && (length(seconds) < 3 || sum(seconds) < budget)) {
  if (sum(seconds) > 10 * budget) break
  i <- length(seconds) + 1
  seconds <- c(seconds, clock(fit(i)))
}
if (budget > 0) say("warm", seconds)
