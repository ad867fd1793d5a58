"""Every error and warning the package raises, so that users can catch or filter by class."""


class GlmmjaxError(Exception):
    """Base of all errors raised on purpose by glmmjax."""


class DataError(GlmmjaxError, ValueError):
    """The data cannot be used as given; the message names the column or row and the remedy."""


class FormulaError(GlmmjaxError, ValueError):
    """The formula cannot be read, or asks for something that is not allowed."""


class NotSupportedError(GlmmjaxError, ValueError):
    """The method does not apply to this model; the message names the reason and an alternative."""


class PrecisionError(GlmmjaxError):
    """float64 inputs in a JAX process that would silently truncate them to float32."""


class GlmmjaxWarning(UserWarning):
    """Base of all warnings issued by glmmjax."""


class ApproximationWarning(GlmmjaxWarning):
    """The integral over the random effects is approximated badly for some units."""


class ConvergenceWarning(GlmmjaxWarning):
    """The optimiser or a mode search stopped before its tolerance was met."""


class DataWarning(GlmmjaxWarning):
    """The data were changed or look suspicious (rows or columns dropped, near-duplicate levels)."""


class PrecisionWarning(GlmmjaxWarning):
    """The computation ran in float32."""


class SeparationWarning(GlmmjaxWarning):
    """A coefficient is running off to infinity (complete or quasi-complete separation)."""


class SingularFitWarning(GlmmjaxWarning):
    """A variance is estimated as zero, or a covariance matrix as rank deficient."""
