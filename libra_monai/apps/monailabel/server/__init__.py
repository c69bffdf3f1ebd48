# SPDX-License-Identifier: Apache-2.0
"""What answers a browser: routes, the guard around them, uploads, pictures, and the queue of drafts."""
