"""What people read: pages by template, in their language, put together in pieces.

Pages ─▶ WaitingPage ─▶ Composer ─▶ Page      rendered once for all, filled in for each
  │          └─ WaitingTemplate, MustachePage: the two kinds of template
  └─ Templates, Assets, languages: what stands on disk, read once at the start
"""
