# Chromium on top of the operating system of a sandbox.
ARG BASE
FROM ${BASE}
ARG PACKAGES
# There is no graphics card: what would compile shaders for one, and the validation of calls to one,
# is a third of it all and never loaded.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ${PACKAGES} \
    && dpkg --purge --force-depends libgl1-mesa-dri libllvm19 libz3-4 mesa-libgallium \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /usr/lib/chromium/libVkLayer_khronos_validation.so*
# What is drawn where a page names a kind of font, or one that is not there. The last fits all.
RUN { echo '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">'; \
      echo '<fontconfig>'; \
      for kind in monospace:Mono serif:Serif sans-serif:Sans system-ui:Sans; do \
        echo "<alias><family>${kind%:*}</family><prefer><family>Liberation ${kind#*:}</family>"; \
        echo '</prefer></alias>'; \
      done; \
      echo '<match target="pattern"><edit name="family" mode="append_last">'; \
      echo '<string>Liberation Sans</string></edit></match></fontconfig>'; \
    } > /etc/fonts/local.conf
